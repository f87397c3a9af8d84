-- Heads of the devices' audit logs, one row a device and key: a device that was paired anew may have begun a new log.

create table if not exists askalf_audit_heads (
  device_id text not null,
  key_id text not null,
  seq bigint not null check (seq >= 0),
  head text not null check (length(head) = 64),
  received_at timestamptz not null,
  conflicts bigint not null default 0,
  conflict_at timestamptz,
  conflict_seq bigint,
  conflict_head text,
  primary key (device_id, key_id)
);

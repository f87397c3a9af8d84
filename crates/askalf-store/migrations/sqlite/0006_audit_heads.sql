-- Heads of the devices' audit logs, one row a device and key: a device that was paired anew may have begun a new log.

create table if not exists askalf_audit_heads (
  device_id text not null,
  key_id text not null,
  seq integer not null check (seq >= 0),
  head text not null check (length(head) = 64),
  received_at text not null check (received_at is strftime('%Y-%m-%dT%H:%M:%fZ', received_at)),
  conflicts integer not null default 0,
  conflict_at text check (conflict_at is strftime('%Y-%m-%dT%H:%M:%fZ', conflict_at)),
  conflict_seq integer,
  conflict_head text,
  primary key (device_id, key_id)
) strict;

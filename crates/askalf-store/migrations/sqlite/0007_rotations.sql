-- Rotations of device keys over the devices' own connections. The new key is a row of api_keys, whose token is nowhere.

create table if not exists askalf_rotations (
  id text not null primary key,
  device_id text not null,
  tenant_id text not null,
  user_id text not null,
  old_key_id text not null,
  new_key_id text not null unique,
  state text not null check (state in ('staged', 'committed', 'confirmed', 'failed', 'dropped')),
  attempt integer not null,
  actor text not null,
  reason text,
  staged_at text not null check (staged_at is strftime('%Y-%m-%dT%H:%M:%fZ', staged_at)),
  stored_at text check (stored_at is strftime('%Y-%m-%dT%H:%M:%fZ', stored_at)),
  committed_at text check (committed_at is strftime('%Y-%m-%dT%H:%M:%fZ', committed_at)),
  ended_at text check (ended_at is strftime('%Y-%m-%dT%H:%M:%fZ', ended_at))
) strict;
create index if not exists askalf_rotations_device_id on askalf_rotations (device_id);
create index if not exists askalf_rotations_old_key_id on askalf_rotations (old_key_id);
create index if not exists askalf_rotations_state on askalf_rotations (state, staged_at);

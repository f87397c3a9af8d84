-- Keys that act as one device only. No reference to agent_devices: when the device is removed its key must be
-- refused, not fall back to being a key that may register a new device.

create table if not exists askalf_key_devices (
  key_id text primary key references api_keys (id) on delete cascade,
  device_id text not null
);
create index if not exists askalf_key_devices_device_id on askalf_key_devices (device_id);

-- The forge's tables, column by column, in SQLite's types:
--   timestamptz    -> TEXT, RFC 3339 in UTC with milliseconds: 2026-11-24T07:33:00.000Z. In this form text order is time order.
--   jsonb          -> TEXT that is valid JSON
--   text[]         -> TEXT that is a JSON array
--   numeric(10, 6) -> REAL within the same bounds, rounded to 6 places by whoever writes
--   varchar(n)     -> TEXT with a length check, in characters as PostgreSQL counts
-- Further checks are here only where PostgreSQL's type itself would refuse the value.

create table if not exists tenants (
  id text not null primary key,
  name text not null check (length(name) <= 255),
  slug text not null unique check (length(slug) <= 100),
  type text not null default 'user' check (type in ('user', 'organization')) check (length(type) <= 20),
  status text not null default 'active' check (status in ('active', 'suspended', 'deleted')) check (length(status) <= 20),
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    check (created_at is strftime('%Y-%m-%dT%H:%M:%fZ', created_at))
) strict;

create table if not exists users (
  id text not null primary key,
  tenant_id text not null references tenants (id) on delete cascade,
  email text not null unique,
  email_normalized text not null unique,
  password_hash text not null,
  display_name text,
  role text default 'user',
  status text default 'active' check (status in ('active', 'suspended', 'deleted')),
  created_at text default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    check (created_at is strftime('%Y-%m-%dT%H:%M:%fZ', created_at))
) strict;
create index if not exists users_tenant_id on users (tenant_id);

create table if not exists api_keys (
  id text not null primary key,
  tenant_id text not null references tenants (id) on delete cascade,
  user_id text references users (id) on delete set null,
  name text not null check (length(name) <= 255),
  description text,
  key_hash text not null check (length(key_hash) <= 128),
  key_prefix text not null check (length(key_prefix) <= 12),
  key_preview text check (length(key_preview) <= 20),
  scopes text default '["read","write","execute"]' check (json_valid(scopes) and json_type(scopes) = 'array'),
  usage_count integer default 0,
  last_used_at text check (last_used_at is strftime('%Y-%m-%dT%H:%M:%fZ', last_used_at)),
  expires_at text check (expires_at is strftime('%Y-%m-%dT%H:%M:%fZ', expires_at)),
  revoked_at text check (revoked_at is strftime('%Y-%m-%dT%H:%M:%fZ', revoked_at)),
  status text not null default 'active' check (status in ('active', 'revoked')) check (length(status) <= 20),
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    check (created_at is strftime('%Y-%m-%dT%H:%M:%fZ', created_at))
) strict;
create index if not exists api_keys_key_prefix on api_keys (key_prefix);
create index if not exists api_keys_key_hash on api_keys (key_hash);
create index if not exists api_keys_created_at on api_keys (created_at, id);
create index if not exists api_keys_user_id on api_keys (user_id, created_at, id);
create index if not exists api_keys_tenant_id on api_keys (tenant_id);

create table if not exists forge_agents (
  id text not null primary key,
  owner_id text not null,
  name text not null,
  slug text not null,
  status text not null default 'draft' check (status in ('draft', 'active', 'paused', 'archived')),
  metadata text not null default '{}' check (json_valid(metadata)),
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    check (created_at is strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  unique (owner_id, slug)
) strict;

create table if not exists forge_executions (
  id text not null primary key,
  agent_id text not null references forge_agents (id) on delete cascade,
  session_id text,
  owner_id text not null,
  status text not null default 'pending'
    check (status in ('pending', 'running', 'completed', 'failed', 'cancelled', 'timeout')),
  input text not null,
  output text,
  messages text not null default '[]' check (json_valid(messages)),
  tool_calls text not null default '[]' check (json_valid(tool_calls)),
  iterations integer not null default 0,
  input_tokens integer not null default 0,
  output_tokens integer not null default 0,
  total_tokens integer not null default 0,
  cost real not null default 0 check (cost between -9999.999999 and 9999.999999),
  duration_ms integer,
  error text,
  metadata text not null default '{}' check (json_valid(metadata)),
  device_id text,
  started_at text check (started_at is strftime('%Y-%m-%dT%H:%M:%fZ', started_at)),
  completed_at text check (completed_at is strftime('%Y-%m-%dT%H:%M:%fZ', completed_at)),
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    check (created_at is strftime('%Y-%m-%dT%H:%M:%fZ', created_at))
) strict;
create index if not exists forge_executions_agent_id on forge_executions (agent_id);
create index if not exists forge_executions_created_at on forge_executions (created_at, id);
create index if not exists forge_executions_owner_id on forge_executions (owner_id, created_at, id);
create index if not exists forge_executions_device_id on forge_executions (device_id, created_at, id);
create index if not exists forge_executions_open on forge_executions (created_at, id) where status in ('pending', 'running');

create table if not exists agent_devices (
  id text not null primary key,
  user_id text not null,
  tenant_id text not null,
  api_key_id text not null,
  device_name text not null,
  hostname text,
  os text,
  platform_capabilities text not null default '{}' check (json_valid(platform_capabilities)),
  status text not null default 'offline' check (status in ('online', 'offline', 'busy')),
  last_seen_at text check (last_seen_at is strftime('%Y-%m-%dT%H:%M:%fZ', last_seen_at)),
  created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    check (created_at is strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  updated_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    check (updated_at is strftime('%Y-%m-%dT%H:%M:%fZ', updated_at)),
  device_type text not null default 'cli'
    check (device_type in ('cli', 'docker', 'ssh', 'k8s', 'browser', 'desktop', 'vscode', 'android', 'ios', 'rpi', 'arduino',
      'homeassistant')),
  device_category text not null default 'compute' check (device_category in ('compute', 'browser', 'mobile', 'iot')),
  connection_config text not null default '{}' check (json_valid(connection_config)),
  max_concurrent_tasks integer not null default 1,
  protocol text not null default 'websocket' check (protocol in ('websocket', 'server-managed', 'mqtt', 'rest-poll'))
) strict;
create index if not exists agent_devices_api_key_id on agent_devices (api_key_id);
create index if not exists agent_devices_device_name on agent_devices (device_name, id);
create index if not exists agent_devices_user_id on agent_devices (user_id, device_name, id);

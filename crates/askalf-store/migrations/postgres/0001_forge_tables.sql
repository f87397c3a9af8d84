-- The tables of a forge, column by column. Only an empty database gets them from here; where a forge has made its own, they
-- stay as they are.

create table if not exists tenants (id text primary key, name varchar(255) not null, slug varchar(100) unique not null,
  type varchar(20) not null default 'user' check (type in ('user', 'organization')), status varchar(20) not null default 'active'
  check (status in ('active', 'suspended', 'deleted')), created_at timestamptz not null default now());
create table if not exists users (id text primary key, tenant_id text not null references tenants (id) on delete cascade, email text unique not null,
  email_normalized text unique not null, password_hash text not null, display_name text, role text default 'user',
  status text default 'active' check (status in ('active', 'suspended', 'deleted')), created_at timestamptz default now());
create table if not exists api_keys (id text primary key, tenant_id text not null references tenants (id) on delete cascade,
  user_id text references users (id) on delete set null, name varchar(255) not null, description text, key_hash varchar(128) not null,
  key_prefix varchar(12) not null, key_preview varchar(20), scopes text[] default array['read', 'write', 'execute'],
  usage_count integer default 0, last_used_at timestamptz, expires_at timestamptz, revoked_at timestamptz,
  status varchar(20) not null default 'active' check (status in ('active', 'revoked')), created_at timestamptz not null default now());
create index if not exists api_keys_key_prefix_idx on api_keys (key_prefix);
create index if not exists api_keys_key_hash_idx on api_keys (key_hash);
create table if not exists forge_agents (id text primary key, owner_id text not null, name text not null, slug text not null,
  status text not null default 'draft' check (status in ('draft', 'active', 'paused', 'archived')), metadata jsonb not null default '{}',
  created_at timestamptz not null default now(), unique (owner_id, slug));
create table if not exists forge_executions (id text primary key, agent_id text not null references forge_agents (id) on delete cascade, session_id text,
  owner_id text not null, status text not null default 'pending'
  check (status in ('pending', 'running', 'completed', 'failed', 'cancelled', 'timeout')), input text not null, output text,
  messages jsonb not null default '[]', tool_calls jsonb not null default '[]', iterations integer not null default 0,
  input_tokens integer not null default 0, output_tokens integer not null default 0, total_tokens integer not null default 0,
  cost numeric(10, 6) not null default 0, duration_ms integer, error text, metadata jsonb not null default '{}', device_id text,
  started_at timestamptz, completed_at timestamptz, created_at timestamptz not null default now());
create table if not exists agent_devices (id text primary key, user_id text not null, tenant_id text not null, api_key_id text not null,
  device_name text not null, hostname text, os text, platform_capabilities jsonb not null default '{}',
  status text not null default 'offline' check (status in ('online', 'offline', 'busy')), last_seen_at timestamptz,
  created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
  device_type text not null default 'cli' check (device_type in ('cli', 'docker', 'ssh', 'k8s', 'browser', 'desktop', 'vscode', 'android',
  'ios', 'rpi', 'arduino', 'homeassistant')), device_category text not null default 'compute'
  check (device_category in ('compute', 'browser', 'mobile', 'iot')), connection_config jsonb not null default '{}',
  max_concurrent_tasks integer not null default 1, protocol text not null default 'websocket'
  check (protocol in ('websocket', 'server-managed', 'mqtt', 'rest-poll')));

-- Indexes of listings and sweeps, on tables that are made here alone.
create index if not exists users_tenant_id on users (tenant_id);
create index if not exists api_keys_created_at on api_keys (created_at, id collate "C");
create index if not exists api_keys_user_id on api_keys (user_id, created_at, id collate "C");
create index if not exists api_keys_tenant_id on api_keys (tenant_id);
create index if not exists forge_executions_agent_id on forge_executions (agent_id);
create index if not exists forge_executions_created_at on forge_executions (created_at, id collate "C");
create index if not exists forge_executions_owner_id on forge_executions (owner_id, created_at, id collate "C");
create index if not exists forge_executions_device_id on forge_executions (device_id, created_at, id collate "C");
create index if not exists forge_executions_open on forge_executions (device_id) where status in ('pending', 'running');
create index if not exists agent_devices_api_key_id on agent_devices (api_key_id);
create index if not exists agent_devices_device_name on agent_devices (device_name collate "C", id collate "C");
create index if not exists agent_devices_user_id on agent_devices (user_id, device_name collate "C", id collate "C");

-- Refused checks, and who did what. The newest rows stay, so a row's id orders them and says which go.

create table if not exists askalf_attempts (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  address text,
  preview text not null,
  key_id text,
  reason text not null,
  count integer not null
);
create index if not exists askalf_attempts_at on askalf_attempts (at);
create table if not exists askalf_acts (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  actor text not null,
  tenant_id text,
  user_id text,
  what text not null,
  subject text not null
);
create index if not exists askalf_acts_user_id on askalf_acts (user_id, tenant_id, id);

-- Refused checks, and who did what. The newest rows stay, so a row's id orders them and says which go.

create table if not exists askalf_attempts (
  id integer not null primary key autoincrement,
  at text not null check (at is strftime('%Y-%m-%dT%H:%M:%fZ', at)),
  address text,
  preview text not null,
  key_id text,
  reason text not null,
  count integer not null
) strict;
create index if not exists askalf_attempts_at on askalf_attempts (at);

create table if not exists askalf_acts (
  id integer not null primary key autoincrement,
  at text not null check (at is strftime('%Y-%m-%dT%H:%M:%fZ', at)),
  actor text not null,
  tenant_id text,
  user_id text,
  what text not null,
  subject text not null
) strict;
create index if not exists askalf_acts_user_id on askalf_acts (user_id, tenant_id, id);

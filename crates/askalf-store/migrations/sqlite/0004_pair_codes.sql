-- Pairing codes. Neither a code nor the nonce that it was exchanged with is here: both are HMACs under the bridge's secret.

create table if not exists askalf_pair_codes (
  id text not null primary key,
  code_mac blob not null unique check (length(code_mac) = 32),
  tenant_id text not null,
  user_id text not null,
  device_id text,
  name text not null check (length(name) <= 255),
  created_at text not null check (created_at is strftime('%Y-%m-%dT%H:%M:%fZ', created_at)),
  expires_at text not null check (expires_at is strftime('%Y-%m-%dT%H:%M:%fZ', expires_at)),
  withdrawn_at text check (withdrawn_at is strftime('%Y-%m-%dT%H:%M:%fZ', withdrawn_at)),
  nonce_mac blob check (length(nonce_mac) = 32),
  key_id text
) strict;
create index if not exists askalf_pair_codes_expires_at on askalf_pair_codes (expires_at);

-- Pairing codes. Neither a code nor the nonce that it was exchanged with is here: both are HMACs under the bridge's secret.

create table if not exists askalf_pair_codes (
  id text primary key,
  code_mac bytea not null unique check (octet_length(code_mac) = 32),
  tenant_id text not null,
  user_id text not null,
  device_id text,
  name varchar(255) not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  withdrawn_at timestamptz,
  nonce_mac bytea check (octet_length(nonce_mac) = 32),
  key_id text
);
create index if not exists askalf_pair_codes_expires_at on askalf_pair_codes (expires_at);

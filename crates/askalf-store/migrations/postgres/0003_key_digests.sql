-- Digests of tokens that were checked once, by which a key is found without a derivation. The rows whose prefix finds them
-- not have no index here: the forge's table is not given one.

create table if not exists askalf_key_digests (
  key_id text primary key references api_keys (id) on delete cascade,
  digest_key_id text not null,
  digest bytea not null check (octet_length(digest) = 32),
  binding bytea not null check (octet_length(binding) = 32)
);
create unique index if not exists askalf_key_digests_digest on askalf_key_digests (digest_key_id, digest);

-- Digests of tokens that were checked once, by which a key is found without a derivation; and the rows whose prefix finds
-- them not, as a set of its own.

create table if not exists askalf_key_digests (
  key_id text not null primary key references api_keys (id) on delete cascade,
  digest_key_id text not null,
  digest blob not null check (length(digest) = 32),
  binding blob not null check (length(binding) = 32)
) strict;
create unique index if not exists askalf_key_digests_digest on askalf_key_digests (digest_key_id, digest);

-- Not 12 characters, or with white space or control characters (those of Unicode) among them. Statements repeat the
-- condition word for word, so that this index serves them.
create index if not exists askalf_malformed_prefixes on api_keys (id)
  where length(key_prefix) <> 12 or key_prefix glob '*[' || char(1) || '-' || char(32, 127) || '-' || char(160, 5760, 8192) || '-' || char(8202, 8232, 8233, 8239, 8287, 12288) || ']*';

//! What a database's catalogue says of the forge's tables.

/// One line per column, constraint and index of the forge's tables, and per trigger and rule on them.
pub(crate) const FORGE_TABLES: &str = "
with forge as (
  select oid, relname from pg_class where relkind in ('r', 'p') and pg_table_is_visible(oid)
    and relname in ('tenants', 'users', 'api_keys', 'forge_agents', 'forge_executions', 'agent_devices')
)
select format('%s.%s %s not null %s default %s', relname, attname, format_type(atttypid, atttypmod), attnotnull,
    pg_get_expr(adbin, adrelid))
  from forge join pg_attribute on attrelid = forge.oid left join pg_attrdef on adrelid = forge.oid and adnum = attnum
  where attnum > 0 and not attisdropped
union all
select format('%s %s %s', relname, conname, pg_get_constraintdef(c.oid)) from forge join pg_constraint c on conrelid = forge.oid
union all
select format('%s %s', relname, pg_get_indexdef(indexrelid)) from forge join pg_index on indrelid = forge.oid
union all
select format('%s %s', relname, pg_get_triggerdef(t.oid)) from forge join pg_trigger t on tgrelid = forge.oid and not tgisinternal
union all
select format('%s %s', relname, pg_get_ruledef(r.oid)) from forge join pg_rewrite r on ev_class = forge.oid
order by 1";

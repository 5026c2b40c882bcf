-- Keys of accounts that are encrypted, wrapped so that only the users' devices can open them.

-- +goose Up
alter table heads add column key_ids text not null default ''; -- between spaces; not empty: entries are to be sealed with one of them

create table account_keys (
  user_id    uuid primary key references users on delete cascade,
  version    bigint not null,
  keys       json not null,           -- ids and check values, oldest first
  bundle     bytea not null,
  updated_at timestamptz not null
);
create table key_requests (
  user_id    uuid not null,
  device_id  uuid not null,
  recipient  text not null,
  tag        bytea not null,
  created_at timestamptz not null,
  primary key (user_id, device_id),
  foreign key (user_id, device_id) references devices on delete cascade
);
-- +goose StatementBegin
do $$
declare t text;
begin
  foreach t in array array['account_keys', 'key_requests'] loop
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy tenant on %I to forg_app using (user_id = nullif(current_setting(''app.user_id'', true), '''')::uuid)'
      || ' with check (user_id = nullif(current_setting(''app.user_id'', true), '''')::uuid)', t);
    execute format('create policy service on %I to forg_system using (true) with check (true)', t);
    execute format('grant select, insert, update, delete on %I to forg_app, forg_system', t);
  end loop;
end $$;
-- +goose StatementEnd

-- +goose Down
drop table key_requests, account_keys;
alter table heads drop column key_ids;

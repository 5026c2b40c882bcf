-- All that the hosted API keeps. Who owns these tables runs migrations and nothing else. The service has the role
-- forg_app: every table that holds something of a user lets it see the rows of the user in app.user_id and no others,
-- and none at all when that is not set (after a transaction that set it, it is '' and not NULL). What must look across users
-- takes on forg_system. Neither owns anything or passes by row-level security. FORCE holds the owner to it as well, so a later
-- migration that changes rows says `set local role forg_system` first.
--
-- Ids that clients make are unique for a user only, so that nobody learns from a conflict what others have.

-- +goose Up
-- +goose StatementBegin
do $$
declare r text;
begin
  foreach r in array array['forg_app', 'forg_system'] loop
    begin
      if not exists (select from pg_roles where rolname = r) then
        execute format('create role %I nologin nosuperuser nobypassrls nocreatedb nocreaterole noinherit', r);
      end if;
    exception when duplicate_object or unique_violation then null; -- another database of this cluster was faster
    end;
    begin
      -- To take them on, not to have what they have; before PostgreSQL 16 that is for the login to say (noinherit).
      execute format(case when current_setting('server_version_num')::int >= 160000 then 'grant %I to current_user with inherit false, set true'
        else 'grant %I to current_user' end, r);
    exception when insufficient_privilege then
      if not pg_has_role(current_user, r, 'member') then raise; end if;
    end;
  end loop;
end $$;
-- +goose StatementEnd

create table users (
  id                      uuid primary key,
  email                   text not null constraint users_email unique,
  password_hash           text not null,
  full_name               text not null,
  is_active               boolean not null,
  is_verified             boolean not null,
  subscription_tier       text not null check (subscription_tier in ('free', 'pro', 'enterprise')),
  subscription_status     text not null,
  subscription_expires_at timestamptz,
  operations_this_month   bigint not null default 0,
  operations_month        bigint not null default 0,   -- the month that is meant: 202611
  storage_bytes_managed   bigint not null default 0,
  timezone                text not null,
  created_at              timestamptz not null,
  updated_at              timestamptz not null,
  last_login_at           timestamptz
);

create table devices (
  user_id      uuid not null references users on delete cascade,
  id           uuid not null,
  name         text not null,
  kind         text not null,
  platform     text not null,
  public_key   bytea,
  created_at   timestamptz not null,
  last_seen_at timestamptz,
  revoked_at   timestamptz,
  primary key (user_id, id)
);

create table locations (
  user_id    uuid not null,
  id         uuid not null,
  name       text not null,
  root       text not null constraint locations_root unique,
  created_at timestamptz not null,
  primary key (user_id, id),
  foreign key (user_id, id) references devices on delete cascade
);

create table api_keys (
  id           uuid primary key,
  user_id      uuid not null references users on delete cascade,
  name         text not null,
  prefix       text not null constraint api_keys_prefix unique,
  key_hash     bytea not null,
  scopes       text not null,          -- between spaces
  device_id    uuid,
  expires_at   timestamptz,
  last_used_at timestamptz,
  created_at   timestamptz not null
);
create index api_keys_of_user on api_keys (user_id, created_at);

create table sessions (
  id         uuid primary key,
  user_id    uuid not null references users on delete cascade,
  device_id  uuid,
  agent      text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  why        text not null default ''
);
create index sessions_of_user on sessions (user_id, created_at);
create index sessions_by_end on sessions (expires_at);

create table refresh_tokens (
  hash       bytea primary key,
  session_id uuid not null references sessions on delete cascade,
  user_id    uuid not null references users on delete cascade,
  issued_at  timestamptz not null,
  expires_at timestamptz not null,
  rotated_at timestamptz,
  successor  bytea,
  voided_at  timestamptz
);
create index refresh_tokens_of_session on refresh_tokens (session_id);
create index refresh_tokens_of_user on refresh_tokens (user_id);
create index refresh_tokens_by_end on refresh_tokens (expires_at);

create table operations (
  user_id          uuid not null references users on delete cascade,
  id               uuid not null,
  device_id        uuid not null,
  kind             text not null,
  status           text not null,
  root             text not null,
  options          json,               -- as it came: not jsonb
  files_total      bigint not null default 0,
  files_processed  bigint not null default 0,
  files_failed     bigint not null default 0,
  duplicates_found bigint not null default 0,
  bytes_moved      bigint not null default 0,
  error            text not null default '',
  created_at       timestamptz not null,
  started_at       timestamptz,
  completed_at     timestamptz,
  rollback_of      uuid,
  asked            boolean not null,   -- somebody asked the service for it; otherwise the log brought it
  version          bigint not null default 1,
  primary key (user_id, id),
  foreign key (user_id, device_id) references devices on delete cascade
);
create index operations_by_time on operations (user_id, created_at desc, id desc);
create index operations_by_status on operations (user_id, status, created_at desc, id desc);
create index operations_by_device on operations (user_id, device_id, created_at desc, id desc);
create index operations_rollbacks on operations (user_id, rollback_of) where rollback_of is not null;

create table sync_log (
  user_id     uuid not null references users on delete cascade,
  server_seq  bigint not null,         -- 1, 2, 3, ... of the user, in the order of commits
  device_id   uuid not null,
  epoch       uuid not null,
  seq         bigint not null,         -- 1, 2, 3, ... of the epoch
  id          uuid not null,
  op_id       uuid,
  kind        text not null,
  schema      bigint not null,
  ts_client   bigint not null,       -- microseconds since 1970, by the clock of the device
  key_id      text not null,
  sha         bytea not null,
  codec       text not null,
  body        bytea,                   -- NULL once redacted or removed with age; sha stays, and the chain still verifies
  received_at timestamptz not null,
  primary key (user_id, server_seq),
  constraint sync_log_seq unique (user_id, device_id, epoch, seq)
);
alter table sync_log alter column body set storage external; -- it is compressed already
create index sync_log_of_operation on sync_log (user_id, op_id, server_seq) where op_id is not null;

create table heads (
  user_id  uuid primary key references users on delete cascade,
  head     bigint not null,            -- the newest server_seq
  removed  bigint not null default 0,  -- bodies up to here were removed with age
  bytes    bigint not null default 0   -- of all bodies
);

create table device_state (
  user_id     uuid not null,
  device_id   uuid not null,
  epoch       uuid not null,
  acked_seq   bigint not null,
  chain       bytea not null,
  pull_cursor bigint not null default 0,
  retired_at  timestamptz,
  updated_at  timestamptz not null,
  primary key (user_id, device_id, epoch),
  foreign key (user_id, device_id) references devices on delete cascade
);

create table commands (
  user_id      uuid not null,
  id           uuid not null,
  device_id    uuid not null,
  kind         text not null,
  operation_id uuid,
  target_id    uuid,
  params       json,
  mac          bytea,
  state        text not null check (state in ('queued', 'leased', 'running', 'succeeded', 'partial', 'refused', 'failed', 'expired', 'cancelled')),
  created_by   text not null,
  created_at   timestamptz not null,
  expires_at   timestamptz not null,
  lease        uuid,
  lease_until  timestamptz,
  attempts     bigint not null default 0,
  result       json,
  error        text not null default '',
  stop         boolean not null default false, -- somebody wants it stopped
  finished_at  timestamptz,
  primary key (user_id, id),
  foreign key (user_id, device_id) references devices on delete cascade,
  check ((finished_at is null) = (state in ('queued', 'leased', 'running')))
);
create index commands_open on commands (user_id, device_id, created_at) where finished_at is null;
create index commands_by_expiry on commands (expires_at) where finished_at is null;
create index commands_by_end on commands (finished_at) where finished_at is not null;
create index commands_of_operation on commands (user_id, operation_id);

-- +goose StatementBegin
create function forg_refuse() returns trigger language plpgsql as $$
begin
  raise exception 'rows of % never change', tg_argv[0] using errcode = 'integrity_constraint_violation';
end $$;
-- +goose StatementEnd
create trigger commands_final before update on commands for each row when (old.finished_at is not null)
  execute function forg_refuse('commands that have ended');

create table idempotency_keys (
  user_id      uuid not null references users on delete cascade,
  key          text not null,
  request_sha  bytea not null,
  operation_id uuid not null,
  created_at   timestamptz not null,
  primary key (user_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- The trail of a user, and that of the service under the user ffffffff-ffff-ffff-ffff-ffffffffffff. Each is a chain of hashes.
create table audit_heads (
  user_id    uuid primary key,
  n          bigint not null,
  chain      bytea not null,
  base_n     bigint not null default 0, -- events up to here were removed with age,
  base_chain bytea not null             -- and the chain was this
);
create table audit_log (
  user_id uuid not null references audit_heads on delete cascade,
  n       bigint not null,
  at      timestamptz not null,
  actor   text not null,
  action  text not null,
  target  text not null,
  address text not null,
  request text not null,
  detail  json,
  chain   bytea not null,
  primary key (user_id, n)
);
create index audit_log_by_age on audit_log (at);
create trigger audit_log_grows before update on audit_log for each row execute function forg_refuse('the audit log');
create trigger audit_log_stays before delete on audit_log for each row
  when (coalesce(current_setting('app.shorten', true), '') <> 'on') execute function forg_refuse('the audit log');

-- +goose StatementBegin
do $$
declare t text; c text;
begin
  foreach t in array array['users', 'devices', 'locations', 'api_keys', 'sessions', 'refresh_tokens', 'operations', 'sync_log', 'heads',
    'device_state', 'commands', 'idempotency_keys', 'audit_heads', 'audit_log'] loop
    c := case t when 'users' then 'id' else 'user_id' end;
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy tenant on %I to forg_app using (%I = nullif(current_setting(''app.user_id'', true), '''')::uuid)'
      || ' with check (%I = nullif(current_setting(''app.user_id'', true), '''')::uuid)', t, c, c);
    execute format('create policy service on %I to forg_system using (true) with check (true)', t);
    execute format('grant select, insert, update, delete on %I to forg_app, forg_system', t);
  end loop;
  revoke update, delete on audit_log from forg_app;
  revoke update on audit_log from forg_system;
  revoke delete on audit_heads from forg_app;
  execute format('grant usage on schema %I to forg_app, forg_system', current_schema());
end $$;
-- +goose StatementEnd

-- +goose Down
drop table audit_log, audit_heads, idempotency_keys, commands, device_state, heads, sync_log, operations, refresh_tokens, sessions,
  api_keys, locations, devices, users;
drop function forg_refuse();

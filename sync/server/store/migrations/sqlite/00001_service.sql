-- What postgres/00001_service.sql has, without roles: ids are 16 bytes, times microseconds since 1970, JSON is text.

-- +goose Up
create table users (
  id                      blob primary key,
  email                   text not null constraint users_email unique,
  password_hash           text not null,
  full_name               text not null,
  is_active               integer not null,
  is_verified             integer not null,
  subscription_tier       text not null check (subscription_tier in ('free', 'pro', 'enterprise')),
  subscription_status     text not null,
  subscription_expires_at integer,
  operations_this_month   integer not null default 0,
  operations_month        integer not null default 0,   -- the month that is meant: 202611
  storage_bytes_managed   integer not null default 0,
  timezone                text not null,
  created_at              integer not null,
  updated_at              integer not null,
  last_login_at           integer
) strict;

create table devices (
  user_id      blob not null references users (id) on delete cascade,
  id           blob not null,
  name         text not null,
  kind         text not null,
  platform     text not null,
  public_key   blob,
  created_at   integer not null,
  last_seen_at integer,
  revoked_at   integer,
  primary key (user_id, id)
) strict;

create table locations (
  user_id    blob not null,
  id         blob not null,
  name       text not null,
  root       text not null constraint locations_root unique,
  created_at integer not null,
  primary key (user_id, id),
  foreign key (user_id, id) references devices (user_id, id) on delete cascade
) strict;

create table api_keys (
  id           blob primary key,
  user_id      blob not null references users (id) on delete cascade,
  name         text not null,
  prefix       text not null constraint api_keys_prefix unique,
  key_hash     blob not null,
  scopes       text not null,          -- between spaces
  device_id    blob,
  expires_at   integer,
  last_used_at integer,
  created_at   integer not null
) strict;
create index api_keys_of_user on api_keys (user_id, created_at);

create table sessions (
  id         blob primary key,
  user_id    blob not null references users (id) on delete cascade,
  device_id  blob,
  agent      text not null,
  created_at integer not null,
  expires_at integer not null,
  revoked_at integer,
  why        text not null default ''
) strict;
create index sessions_of_user on sessions (user_id, created_at);
create index sessions_by_end on sessions (expires_at);

create table refresh_tokens (
  hash       blob primary key,
  session_id blob not null references sessions (id) on delete cascade,
  user_id    blob not null references users (id) on delete cascade,
  issued_at  integer not null,
  expires_at integer not null,
  rotated_at integer,
  successor  blob,
  voided_at  integer
) strict;
create index refresh_tokens_of_session on refresh_tokens (session_id);
create index refresh_tokens_of_user on refresh_tokens (user_id);
create index refresh_tokens_by_end on refresh_tokens (expires_at);

create table operations (
  user_id          blob not null references users (id) on delete cascade,
  id               blob not null,
  device_id        blob not null,
  kind             text not null,
  status           text not null,
  root             text not null,
  options          text,               -- as it came
  files_total      integer not null default 0,
  files_processed  integer not null default 0,
  files_failed     integer not null default 0,
  duplicates_found integer not null default 0,
  bytes_moved      integer not null default 0,
  error            text not null default '',
  created_at       integer not null,
  started_at       integer,
  completed_at     integer,
  rollback_of      blob,
  asked            integer not null,   -- somebody asked the service for it; otherwise the log brought it
  version          integer not null default 1,
  primary key (user_id, id),
  foreign key (user_id, device_id) references devices (user_id, id) on delete cascade
) strict;
create index operations_by_time on operations (user_id, created_at desc, id desc);
create index operations_by_status on operations (user_id, status, created_at desc, id desc);
create index operations_by_device on operations (user_id, device_id, created_at desc, id desc);
create index operations_rollbacks on operations (user_id, rollback_of) where rollback_of is not null;

create table sync_log (
  user_id     blob not null references users (id) on delete cascade,
  server_seq  integer not null,         -- 1, 2, 3, ... of the user, in the order of commits
  device_id   blob not null,
  epoch       blob not null,
  seq         integer not null,         -- 1, 2, 3, ... of the epoch
  id          blob not null,
  op_id       blob,
  kind        text not null,
  schema      integer not null,
  ts_client   integer not null,       -- microseconds since 1970, by the clock of the device
  key_id      text not null,
  sha         blob not null,
  codec       text not null,
  body        blob,                   -- NULL once redacted or removed with age; sha stays, and the chain still verifies
  received_at integer not null,
  primary key (user_id, server_seq),
  constraint sync_log_seq unique (user_id, device_id, epoch, seq)
) strict;
create index sync_log_of_operation on sync_log (user_id, op_id, server_seq) where op_id is not null;

create table heads (
  user_id  blob primary key references users (id) on delete cascade,
  head     integer not null,            -- the newest server_seq
  removed  integer not null default 0,  -- bodies up to here were removed with age
  bytes    integer not null default 0   -- of all bodies
) strict;

create table device_state (
  user_id     blob not null,
  device_id   blob not null,
  epoch       blob not null,
  acked_seq   integer not null,
  chain       blob not null,
  pull_cursor integer not null default 0,
  retired_at  integer,
  updated_at  integer not null,
  primary key (user_id, device_id, epoch),
  foreign key (user_id, device_id) references devices (user_id, id) on delete cascade
) strict;

create table commands (
  user_id      blob not null,
  id           blob not null,
  device_id    blob not null,
  kind         text not null,
  operation_id blob,
  target_id    blob,
  params       text,
  mac          blob,
  state        text not null check (state in ('queued', 'leased', 'running', 'succeeded', 'partial', 'refused', 'failed', 'expired', 'cancelled')),
  created_by   text not null,
  created_at   integer not null,
  expires_at   integer not null,
  lease        blob,
  lease_until  integer,
  attempts     integer not null default 0,
  result       text,
  error        text not null default '',
  stop         integer not null default 0, -- somebody wants it stopped
  finished_at  integer,
  primary key (user_id, id),
  foreign key (user_id, device_id) references devices (user_id, id) on delete cascade,
  check ((finished_at is null) = (state in ('queued', 'leased', 'running')))
) strict;
create index commands_open on commands (user_id, device_id, created_at) where finished_at is null;
create index commands_by_expiry on commands (expires_at) where finished_at is null;
create index commands_by_end on commands (finished_at) where finished_at is not null;
create index commands_of_operation on commands (user_id, operation_id);

-- +goose StatementBegin
create trigger commands_final before update on commands when old.finished_at is not null
begin
  select raise(abort, 'rows of commands that have ended never change');
end;
-- +goose StatementEnd

create table idempotency_keys (
  user_id      blob not null references users (id) on delete cascade,
  key          text not null,
  request_sha  blob not null,
  operation_id blob not null,
  created_at   integer not null,
  primary key (user_id, key)
) strict;
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- The trail of a user, and that of the service under the user ffffffff-ffff-ffff-ffff-ffffffffffff. Each is a chain of hashes.
create table audit_heads (
  user_id    blob primary key,
  n          integer not null,
  chain      blob not null,
  base_n     integer not null default 0, -- events up to here were removed with age,
  base_chain blob not null             -- and the chain was this
) strict;
create table audit_log (
  user_id blob not null references audit_heads (user_id) on delete cascade,
  n       integer not null,
  at      integer not null,
  actor   text not null,
  action  text not null,
  target  text not null,
  address text not null,
  request text not null,
  detail  text,
  chain   blob not null,
  primary key (user_id, n)
) strict;
create index audit_log_by_age on audit_log (at);

-- The audit log can be shortened only while this is open, which it is within a transaction of housekeeping or erasure.
create table audit_gate (open integer not null) strict;
insert into audit_gate (open) values (0);

-- +goose StatementBegin
create trigger audit_log_grows before update on audit_log
begin
  select raise(abort, 'rows of the audit log never change');
end;
-- +goose StatementEnd
-- +goose StatementBegin
create trigger audit_log_stays before delete on audit_log when (select open from audit_gate) = 0
begin
  select raise(abort, 'rows of the audit log never change');
end;
-- +goose StatementEnd

-- +goose Down
drop table audit_gate;
drop table audit_log;
drop table audit_heads;
drop table idempotency_keys;
drop table commands;
drop table device_state;
drop table heads;
drop table sync_log;
drop table operations;
drop table refresh_tokens;
drop table sessions;
drop table api_keys;
drop table locations;
drop table devices;
drop table users;

-- What postgres/00003_keys.sql has, without roles.

-- +goose Up
alter table heads add column key_ids text not null default '';

create table account_keys (
  user_id    blob primary key references users (id) on delete cascade,
  version    integer not null,
  keys       text not null,
  bundle     blob not null,
  updated_at integer not null
) strict;
create table key_requests (
  user_id    blob not null,
  device_id  blob not null,
  recipient  text not null,
  tag        blob not null,
  created_at integer not null,
  primary key (user_id, device_id),
  foreign key (user_id, device_id) references devices (user_id, id) on delete cascade
) strict;

-- +goose Down
drop table key_requests;
drop table account_keys;
alter table heads drop column key_ids;

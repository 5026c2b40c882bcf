-- What postgres/00002_locations.sql has, without roles.

-- +goose Up
alter table operations add column stop integer not null default 0;
create index operations_open on operations (user_id, device_id, created_at) where status in ('pending', 'running');

create table location_rules (
  user_id     blob not null,
  location_id blob not null,
  name        text not null,
  source      text not null,
  created_at  integer not null,
  primary key (user_id, location_id, name),
  foreign key (user_id, location_id) references locations (user_id, id) on delete cascade
) strict;

-- +goose Down
drop table location_rules;
drop index operations_open;
alter table operations drop column stop;

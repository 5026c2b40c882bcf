-- Storage locations: which of them have something to do, rules that the operator gives them, and operations that somebody
-- wants stopped.

-- +goose Up
alter table operations add column stop boolean not null default false;
create index operations_open on operations (user_id, device_id, created_at) where status in ('pending', 'running');

create table location_rules (
  user_id     uuid not null,
  location_id uuid not null,
  name        text not null,
  source      text not null,
  created_at  timestamptz not null,
  primary key (user_id, location_id, name),
  foreign key (user_id, location_id) references locations on delete cascade
);
alter table location_rules enable row level security;
alter table location_rules force row level security;
create policy tenant on location_rules to forg_app using (user_id = nullif(current_setting('app.user_id', true), '')::uuid)
  with check (user_id = nullif(current_setting('app.user_id', true), '')::uuid);
create policy service on location_rules to forg_system using (true) with check (true);
grant select, insert, update, delete on location_rules to forg_app, forg_system;

-- +goose Down
drop table location_rules;
drop index operations_open;
alter table operations drop column stop;

-- What postgres/00004_offers.sql has.

-- +goose Up
alter table devices add column offers text;

-- +goose Down
alter table devices drop column offers;

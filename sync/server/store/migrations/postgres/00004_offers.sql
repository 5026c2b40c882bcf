-- What devices let be asked of them, by names that their owners have given.

-- +goose Up
alter table devices add column offers json;

-- +goose Down
alter table devices drop column offers;

"""The machinery: log, fold, views, speed, batch, serving, replay and verify."""

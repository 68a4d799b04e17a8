-- Run once by the database's owner: one database for runs, one for accounts.
CREATE DATABASE mlflow;
CREATE DATABASE accounts;

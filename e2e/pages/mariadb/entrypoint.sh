#!/bin/sh
# What the entrypoint of mariadb:11 does, as far as the pages use it.
set -e
data=/var/lib/mysql
mkdir -p /run/mysqld
chown mysql:mysql /run/mysqld $data
if [ ! -d $data/mysql ]; then
  if [ -z "$MARIADB_ROOT_PASSWORD" ]; then
    echo "[ERROR] [Entrypoint]: Database is uninitialized and password option is not specified" >&2
    echo "	You need to specify one of MARIADB_ROOT_PASSWORD, MARIADB_ROOT_PASSWORD_HASH, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD and MARIADB_RANDOM_ROOT_PASSWORD" >&2
    exit 1
  fi
  mariadb-install-db --user=mysql --skip-test-db >/dev/null
  {
    echo "CREATE USER 'root'@'%' IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';"
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';"
    cat /docker-entrypoint-initdb.d/*.sql 2>/dev/null || true
  } >/tmp/init.sql
  exec mariadbd --user=mysql --bind-address=0.0.0.0 --init-file=/tmp/init.sql
fi
exec mariadbd --user=mysql --bind-address=0.0.0.0

#!/usr/bin/env bash
# MongoDB and Redis for the tests, on loopback.
#   scripts/services.sh up      brings both up, installing what is missing, and waits until they answer
#   scripts/services.sh down    stops what `up` has started
#   scripts/services.sh env     prints MONGODB_URL, REDIS_URL and REDIS_CLUSTER_URL, to be evaluated
# A Redis cluster of six nodes is started besides, from the machine's own redis-server in every case.
# Three ways for the others, the first that works: the servers that MONGODB_URL and REDIS_URL name; Docker; and on Debian as root
# FerretDB (which speaks MongoDB's protocol) on PostgreSQL with the DocumentDB extension in a tree of its own.
set -euo pipefail

home=${FLEETBEAT_SERVICES:-$HOME/.cache/fleetbeat/services}
mongo_port=${FLEETBEAT_MONGO_PORT:-27117} redis_port=${FLEETBEAT_REDIS_PORT:-6390} postgres_port=${FLEETBEAT_POSTGRES_PORT:-15432}
cluster_ports=(7390 7391 7392 7393 7394 7395)
tree=$home/debian
suite=forky

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

wait_for() {
  local name=$1 port=$2
  for _ in $(seq 300); do
    answers "$port" && return
    sleep 0.1
  done
  echo "services: $name does not answer on port $port; logs are in $home" >&2
  exit 1
}

install_redis() {
  command -v redis-server >/dev/null && return
  command -v apt-get >/dev/null && ((EUID == 0)) || { echo "services: install redis-server" >&2; exit 1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null
}

# Three masters and their replicas; each keeps its view of the others in a file of its own.
up_cluster() {
  local port nodes=()
  for port in "${cluster_ports[@]}"; do
    nodes+=("127.0.0.1:$port")
    answers "$port" && continue
    redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --cluster-enabled yes --dir "$home" \
      --cluster-config-file "nodes-$port.conf" --daemonize yes --pidfile "$home/cluster-$port.pid" \
      --logfile "$home/cluster-$port.log" >/dev/null
    wait_for "the Redis cluster" "$port"
  done
  is_joined() { redis-cli -p "${cluster_ports[0]}" cluster info | grep -q '^cluster_state:ok'; }
  is_joined || redis-cli --cluster create "${nodes[@]}" --cluster-replicas 1 --cluster-yes >"$home/cluster.log"
  for _ in $(seq 300); do
    is_joined && return
    sleep 0.1
  done
  echo "services: the Redis cluster does not join; see $home/cluster.log" >&2
  exit 1
}

given() { [[ -n ${MONGODB_URL:-} && -n ${REDIS_URL:-} ]]; }
has_docker() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

up_docker() {
  docker inspect fleetbeat-test-mongo >/dev/null 2>&1 ||
    docker run --detach --rm --name fleetbeat-test-mongo --publish "127.0.0.1:$mongo_port:27017" mongo:8 >/dev/null
  docker inspect fleetbeat-test-redis >/dev/null 2>&1 ||
    docker run --detach --rm --name fleetbeat-test-redis --publish "127.0.0.1:$redis_port:6379" redis:7 >/dev/null
}

install_debian() {
  if ! command -v debootstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap >/dev/null
  fi
  if [[ ! -x $home/bin/ferretdb ]]; then
    command -v go >/dev/null || { echo "services: install Go, or Docker, or set MONGODB_URL and REDIS_URL" >&2; exit 1; }
    GOBIN=$home/bin go install github.com/FerretDB/FerretDB/v2/cmd/ferretdb@v2.7.0
  fi
  [[ ! -e $tree/.ready ]] || return 0
  # What an interrupted installation has left would only confuse the next one.
  unmount
  rm -rf "$tree"
  local mirror
  mirror=$("$(dirname "$0")/mirror.sh")
  debootstrap --variant=minbase "$suite" "$tree" "$mirror" /usr/share/debootstrap/scripts/sid >"$home/debootstrap.log" 2>&1
  mount_tree
  # A mirror may lag behind a testing suite's expiry date; the signature is checked all the same.
  chroot "$tree" sh -c 'export DEBIAN_FRONTEND=noninteractive
    apt-get -o Acquire::Check-Valid-Until=false update -qq
    apt-get install -y -qq --no-install-recommends postgresql-18-documentdb' >"$home/apt.log" 2>&1
  sed -i '1i host all all 127.0.0.1/32 trust\nlocal all all trust' "$tree/etc/postgresql/18/main/pg_hba.conf"
  touch "$tree/.ready"
}

# A new collection has no statistics, and each heartbeat would be sought in all of it: by default for a minute.
configure_postgres() {
  cat >"$tree/etc/postgresql/18/main/conf.d/documentdb.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $postgres_port
shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'
cron.database_name = 'postgres'
fsync = off
autovacuum_naptime = 1s
CONF
}

mount_tree() {
  mountpoint -q "$tree/proc" || mount -t proc proc "$tree/proc"
  mountpoint -q "$tree/dev" || mount --bind /dev "$tree/dev"
}

unmount() {
  for point in dev proc; do
    if mountpoint -q "$tree/$point"; then umount "$tree/$point"; fi
  done
}

up_debian() {
  install_debian
  if ! answers "$postgres_port"; then
    mount_tree
    configure_postgres
    chroot "$tree" pg_ctlcluster 18 main start
    wait_for PostgreSQL "$postgres_port"
    chroot "$tree" su postgres -c "psql -qp $postgres_port -c 'CREATE EXTENSION IF NOT EXISTS documentdb CASCADE' postgres"
  fi
  answers "$redis_port" || redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no \
    --daemonize yes --pidfile "$home/redis.pid" --logfile "$home/redis.log" >/dev/null
  if ! answers "$mongo_port"; then
    setsid "$home/bin/ferretdb" --postgresql-url="postgres://postgres@127.0.0.1:$postgres_port/postgres" \
      --listen-addr="127.0.0.1:$mongo_port" --state-dir="$home" --no-auth --telemetry=disable --debug-addr=- \
      >"$home/ferretdb.log" 2>&1 </dev/null &
    echo $! >"$home/ferretdb.pid"
  fi
}

case ${1:-} in
up)
  mkdir -p "$home"
  install_redis
  up_cluster
  given && exit
  if has_docker; then
    up_docker
  elif command -v apt-get >/dev/null && ((EUID == 0)); then
    up_debian
  else
    echo "services: start Docker, or set MONGODB_URL and REDIS_URL" >&2
    exit 1
  fi
  wait_for Redis "$redis_port"
  wait_for MongoDB "$mongo_port"
  ;;
down)
  for port in "${cluster_ports[@]}"; do
    [[ ! -f $home/cluster-$port.pid ]] || kill "$(cat "$home/cluster-$port.pid")" 2>/dev/null || true
    rm -f "$home/nodes-$port.conf"
  done
  # Whoever has evaluated `env` has both URLs set: what `up` has started says what is to be stopped.
  if has_docker; then
    docker stop fleetbeat-test-mongo fleetbeat-test-redis >/dev/null 2>&1 || true
    exit
  fi
  for name in ferretdb redis; do
    [[ ! -f $home/$name.pid ]] || kill "$(cat "$home/$name.pid")" 2>/dev/null || true
    rm -f "$home/$name.pid"
  done
  [[ ! -e $tree/.ready ]] || chroot "$tree" pg_ctlcluster 18 main stop 2>/dev/null || true
  unmount
  ;;
env)
  cluster=$(printf ',redis://127.0.0.1:%s' "${cluster_ports[@]}")
  echo "export MONGODB_URL=${MONGODB_URL:-mongodb://127.0.0.1:$mongo_port}" \
    "REDIS_URL=${REDIS_URL:-redis://127.0.0.1:$redis_port} REDIS_CLUSTER_URL=${cluster:1}"
  ;;
*)
  echo "usage: $0 up|down|env" >&2
  exit 64
  ;;
esac

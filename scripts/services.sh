#!/usr/bin/env bash
# MongoDB and Redis for the tests, on loopback.
#   scripts/services.sh install     installs the missing parts, and starts nothing
#   scripts/services.sh up          installs, starts both, and waits until they answer
#   scripts/services.sh down        stops the services that `up` has started
#   scripts/services.sh env         prints the services' URLs as variables for `eval`
#   scripts/services.sh --missing   prints the missing parts, and their future places
# The first of three ways that works is taken: the servers of MONGODB_URL and REDIS_URL;
# Docker; and, on Debian as root, FerretDB (which speaks MongoDB's protocol) on a
# PostgreSQL with the DocumentDB extension, in a separate Debian tree. Besides, on every
# way, a Redis cluster of six nodes is started from the machine's own redis-server.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

home=${FLEETBEAT_SERVICES:-$HOME/.cache/fleetbeat/services}
mongo_port=${FLEETBEAT_MONGO_PORT:-27117} redis_port=${FLEETBEAT_REDIS_PORT:-6390}
postgres_port=${FLEETBEAT_POSTGRES_PORT:-15432}
cluster_ports=(7390 7391 7392 7393 7394 7395)
tree=$home/debian
suite=forky
images=(mongo:8 redis:7)

# The way that is taken: given, docker, debian, or none.
way() {
  if [[ -n ${MONGODB_URL:-} && -n ${REDIS_URL:-} ]]; then
    echo given
  elif has_docker; then
    echo docker
  elif has apt-get && ((EUID == 0)); then
    echo debian
  else
    echo none
  fi
}

has_docker() { has docker && docker info >/dev/null 2>&1; }

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

wait_for() {
  local name=$1 port=$2
  for _ in $(seq 300); do
    answers "$port" && return
    sleep 0.1
  done
  fail "$name does not answer on port $port; logs are in $home"
}

# Three masters and their replicas; each node has a file with its view of the others.
up_cluster() {
  local port nodes=() running=0
  for port in "${cluster_ports[@]}"; do
    if answers "$port"; then running=$((running + 1)); fi
  done
  # What nodes remember that were killed is in the way of a new cluster.
  [[ $running != 0 ]] || rm -f "$home"/nodes-*.conf
  for port in "${cluster_ports[@]}"; do
    nodes+=("127.0.0.1:$port")
    answers "$port" && continue
    redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --cluster-enabled yes --dir "$home" \
      --cluster-config-file "nodes-$port.conf" --daemonize yes --pidfile "$home/cluster-$port.pid" \
      --logfile "$home/cluster-$port.log" >/dev/null
    wait_for "the Redis cluster" "$port"
  done

  is_joined() { redis-cli -p "${cluster_ports[0]}" cluster info | grep -q '^cluster_state:ok'; }
  is_joined || redis-cli --cluster create "${nodes[@]}" --cluster-replicas 1 --cluster-yes >"$home/cluster.log" ||
    fail "the Redis cluster cannot be made; see $home/cluster.log"
  for _ in $(seq 300); do
    is_joined && return
    sleep 0.1
  done
  fail "the Redis cluster does not join; see $home/cluster.log"
}

# Prints the images that Docker still has to pull.
missing_images() {
  local image
  for image in "${images[@]}"; do
    docker image inspect "$image" >/dev/null 2>&1 || echo "$image"
  done
}

up_docker() {
  docker inspect fleetbeat-test-mongo >/dev/null 2>&1 ||
    docker run --detach --rm --name fleetbeat-test-mongo --publish "127.0.0.1:$mongo_port:27017" "${images[0]}" >/dev/null
  docker inspect fleetbeat-test-redis >/dev/null 2>&1 ||
    docker run --detach --rm --name fleetbeat-test-redis --publish "127.0.0.1:$redis_port:6379" "${images[1]}" >/dev/null
}

# A separate Debian, because the extension needs a later suite than most machines have.
install_tree() {
  local mirror
  announce "$tree_name" "$tree"
  has debootstrap || install_packages debootstrap
  # The remains of an interrupted installation would only confuse the next.
  unmount
  rm -rf "$tree"
  mirror=$(debian_mirror)
  PATH=$PATH:/usr/sbin debootstrap --variant=minbase "$suite" "$tree" "$mirror" \
    /usr/share/debootstrap/scripts/sid >"$home/debootstrap.log" 2>&1
  mount_tree
  # A mirror may lag behind a testing suite's expiry date; the signature is checked all
  # the same.
  chroot "$tree" sh -c 'export DEBIAN_FRONTEND=noninteractive
    apt-get -o Acquire::Check-Valid-Until=false update -qq
    apt-get install -y -qq --no-install-recommends postgresql-18-documentdb' >"$home/apt.log" 2>&1
  sed -i '1i host all all 127.0.0.1/32 trust\nlocal all all trust' "$tree/etc/postgresql/18/main/pg_hba.conf"
  unmount
  touch "$tree/.ready"
}
tree_name="a Debian $suite with PostgreSQL and DocumentDB"

# A new collection has no statistics, and each heartbeat would be sought in all of it: by
# default for a minute.
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
  local ferretdb
  ferretdb=$(scripts/tools.sh ferretdb)/ferretdb
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
    setsid "$ferretdb" --postgresql-url="postgres://postgres@127.0.0.1:$postgres_port/postgres" \
      --listen-addr="127.0.0.1:$mongo_port" --state-dir="$home" --no-auth --telemetry=disable --debug-addr=- \
      >"$home/ferretdb.log" 2>&1 </dev/null &
    echo $! >"$home/ferretdb.pid"
  fi
}

install_all() {
  local image
  mkdir -p "$home"
  has redis-server || install_packages redis-server
  case $(way) in
    docker)
      for image in $(missing_images); do
        announce "the image $image" "Docker"
        docker pull --quiet "$image" >/dev/null
      done
      ;;
    debian)
      scripts/tools.sh ferretdb >/dev/null
      [[ -e $tree/.ready ]] || install_tree
      ;;
  esac
}

up() {
  install_all
  up_cluster
  case $(way) in
    given) return ;;
    docker) up_docker ;;
    debian) up_debian ;;
    none) fail "start Docker, or set MONGODB_URL and REDIS_URL" ;;
  esac
  wait_for Redis "$redis_port"
  wait_for MongoDB "$mongo_port"
}

down() {
  local port name
  for port in "${cluster_ports[@]}"; do
    stop_by_pid_file "$home/cluster-$port.pid"
    rm -f "$home/nodes-$port.conf"
  done
  # Not by `way`, because after an evaluated `env` both URLs are set.
  if has_docker; then
    docker stop fleetbeat-test-mongo fleetbeat-test-redis >/dev/null 2>&1 || true
    return
  fi
  for name in ferretdb redis; do
    stop_by_pid_file "$home/$name.pid"
    rm -f "$home/$name.pid"
  done
  [[ ! -e $tree/.ready ]] || chroot "$tree" pg_ctlcluster 18 main stop 2>/dev/null || true
  unmount
}

stop_by_pid_file() {
  [[ ! -f $1 ]] || kill "$(cat "$1")" 2>/dev/null || true
}

print_missing() {
  case $(way) in
    docker)
      missing_images | sed 's/.*/the image &, into Docker/'
      ;;
    debian)
      scripts/tools.sh --missing ferretdb
      [[ -e $tree/.ready ]] || echo "$tree_name, into $tree"
      ;;
  esac
}

print_env() {
  local cluster
  cluster=$(printf ',redis://127.0.0.1:%s' "${cluster_ports[@]}")
  echo "export MONGODB_URL=${MONGODB_URL:-mongodb://127.0.0.1:$mongo_port}" \
    "REDIS_URL=${REDIS_URL:-redis://127.0.0.1:$redis_port} REDIS_CLUSTER_URL=${cluster:1}"
}

case ${1:-} in
  install) install_all ;;
  up) up ;;
  down) down ;;
  env) print_env ;;
  --missing) print_missing ;;
  *) usage ;;
esac

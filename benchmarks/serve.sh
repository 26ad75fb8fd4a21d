# Sourced by the benchmark scripts: their output folder, and the loopback server that ends with them.

# settle OUT KEY: makes OUT the folder of the runs with KEY. URLs hold the port, and rows and shards are known
# by their URLs, so a folder belongs to one port and one table. What other runs left in OUT is renamed to
# OUT.THEIR-KEY, and comes back with their key.
settle() {
    local out=$1 key=$2 old
    if [ -f "$out/.key" ]; then
        old=$(cat "$out/.key")
        if [ "$old" != "$key" ]; then
            if [ -e "$out.$old" ]; then
                echo "$out and $out.$old are of the same run; remove one of them" >&2
                return 1
            fi
            echo "$out is of another port or table: it is kept as $out.$old" >&2
            mv "$out" "$out.$old"
        fi
    fi
    if [ ! -e "$out" ] && [ -e "$out.$key" ]; then
        echo "$out is taken up again from $out.$key" >&2
        mv "$out.$key" "$out"
    fi
    mkdir -p "$out"
}

# keep OUT KEY: notes that OUT is of the runs with KEY from now on.
keep() {
    printf '%s\n' "$2" >"$1/.key.tmp"
    mv "$1/.key.tmp" "$1/.key"
}

# serve FOLDER PORT COMMAND…: serves FOLDER on 127.0.0.1:PORT until this script ends. COMMAND is how a person
# starts the script, for the advice to choose another port.
serve() {
    local folder=$1 port=$2 log
    shift 2
    log=$(mktemp)
    # A server that outlives a killed script would keep the port.
    local parent=()
    if [ -d "/proc/$$" ]; then
        parent=(--parent-pid $$)
    fi
    "$bin/sightline-test-server" --root "$folder" --port "$port" ${parent[@]+"${parent[@]}"} >"$log" 2>&1 &
    server=$!
    trap 'kill "$server" 2>/dev/null || true' EXIT
    for _ in $(seq 100); do
        if grep -q "http://" "$log"; then
            rm -f "$log"
            return
        fi
        if ! kill -0 "$server" 2>/dev/null; then
            break
        fi
        sleep 0.05
    done
    cat "$log" >&2
    rm -f "$log"
    echo "the loopback server did not start on port $port. If another program has the port, choose another one:" >&2
    echo "  just port=$((port + 1)) $*" >&2
    return 1
}

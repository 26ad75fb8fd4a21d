# Sourced by the benchmark scripts: starts the loopback server and stops it with the script.

# serve FOLDER PORT: serves FOLDER on 127.0.0.1:PORT until this script ends.
serve() {
    local folder=$1 port=$2 log
    log=$(mktemp)
    "$bin/sightline-test-server" --root "$folder" --port "$port" >"$log" 2>&1 &
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
    echo "the loopback server did not start on port $port; is the port taken? Try: just port=18418 bench" >&2
    cat "$log" >&2
    rm -f "$log"
    return 1
}

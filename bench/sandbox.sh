# shellcheck shell=bash
# The group sandbox: what the sandbox of the workers costs messages, against the same without it.

# In each round both orders, so that neither always has the warmer machine.
compare_sandbox() { # HANDLER
    local handler=$1 on on_port off off_port side
    start_msockd_at msp 1 "$handler" -o sandbox=best && on=$STARTED on_port=$PORT
    start_msockd_at msp 1 "$handler" -o sandbox=off && off=$STARTED off_port=$PORT
    for _ in $(seq "$REPS"); do
        for side in on off off on; do
            if [ "$side" = on ]; then
                measure "sandbox.$handler.w1" msp "$on_port" "$on" -c 50 -s 256
            else
                measure "sandbox.$handler.off" msp "$off_port" "$off" -c 50 -s 256
            fi
        done
    done
    stop_all
    row "256 B plain, $handler, sandbox=best" 'the same with sandbox=off' \
        "sandbox.$handler" "sandbox.$handler.off" rate '>=' 0.98 msg/s
    row 'the same: CPU a message' 'the same with sandbox=off' \
        "sandbox.$handler" "sandbox.$handler.off" cpu_us '' '' us
}

group_sandbox() {
    compare_sandbox discard
    compare_sandbox journal
}

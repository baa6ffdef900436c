if command -v nc >/dev/null; then
case $(nc -h 2>&1) in
*usy[Bb]ox*) exec nc 127.0.0.1 "$1" ;;
*-N*) exec nc -N 127.0.0.1 "$1" ;;
esac
fi
command -v bash >/dev/null || exit 126
exec bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
exec 4<&0
cat <&4 >&3 &
exec cat <&3' pod "$1"

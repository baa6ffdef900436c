trap 'cd /; rm -rf -- "$s"' 0
trap 'exit 7' 1 2 13 15
case $(tar --version 2>&1) in
*GNU*) tar=gnu ;;
*[Bb]usy[Bb]ox*) tar=busybox ;;
*) tar=other ;;
esac
printf 'T %s %s\n' "$tar" "$(id -u)"
cd -- "$s" || exit 8
umask 022
tar -x -p $owner -f - || exit 8
[ -f e ] || fail cut
if [ -f d ]; then tar -x -p $owner -f d || exit 8; fi

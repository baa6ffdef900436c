_pod_e=$1 _pod_f=$2 _pod_q=
shift 2
case $1 in
*/*) [ -e "$1" ] || exit 127; [ -f "$1" ] && [ -x "$1" ] || exit 126 ;;
*) command -v -- "$1" >/dev/null 2>&1 || exit 127 ;;
esac
{ read -r _pod_n _pod_s <"$_pod_f"; } 2>/dev/null
while :; do
_pod_n=$((${_pod_n:-0}+1)) _pod_a= _pod_p= _pod_s=
echo "$_pod_n" >"$_pod_f"
if [ -t 0 ]; then
trap : HUP INT QUIT ALRM USR1 USR2 TERM
trap '_pod_q=y' "$_pod_e"
"$@"
_pod_s=$?
else
for _pod_x in HUP INT QUIT ALRM USR1 USR2 WINCH TERM; do
trap "_pod_g=y; kill -$_pod_x \$_pod_p 2>/dev/null" "$_pod_x"
done
trap '_pod_g=y _pod_q=y; kill -TERM $_pod_p 2>/dev/null' "$_pod_e"
exec 3<&0
"$@" <&3 3<&- &
_pod_p=$!
exec 3<&-
[ -z "$_pod_q" ] || kill -TERM "$_pod_p" 2>/dev/null
while
_pod_g=
{ wait "$_pod_p"; } 2>/dev/null
_pod_x=$?
{ [ -n "$_pod_s" ] && [ "$_pod_x" = 127 ]; } || _pod_s=$_pod_x
[ -n "$_pod_g" ]
do :; done
fi
trap : HUP QUIT ALRM USR1 WINCH
trap '_pod_a=y' USR2
trap 'exit "$_pod_s"' INT TERM "$_pod_e"
echo "$_pod_n $_pod_s are the run's number and its command's exit status" >"$_pod_f"
[ -z "$_pod_q" ] || exit "$_pod_s"
while [ -z "$_pod_a" ]; do
sleep 3600 </dev/null >/dev/null 2>&1 &
wait "$!"
done
kill "$!" 2>/dev/null
done

_pod_t=$1 _pod_w=$2 _pod_h=$3 _pod_s=$4 _pod_v=$5 _pod_l=$6
shift 6
while [ "$_pod_l" -gt 0 ]; do
_pod_x=$(printf '%b.' "$1")
shift
set -- "$@" "${_pod_x%.}"
_pod_l=$((_pod_l-1))
done
_pod_m() { printf '\001pod:%s:%s\002' "$_pod_t" "$1" >&3; }
_pod_r() {
eval "_pod_p=\${$((_pod_v+1))}"
_pod_q=
case $_pod_p in
*/*) ;;
*)
_pod_q=$_pod_p _pod_p= _pod_i=$IFS
IFS=:
set -f
for _pod_x in ${PATH-/usr/local/bin:/usr/bin:/bin}; do
_pod_x=${_pod_x:-.}/$_pod_q
if [ -f "$_pod_x" ] && [ -x "$_pod_x" ]; then _pod_p=$_pod_x; break; fi
[ ! -e "$_pod_x" ] || _pod_p=${_pod_p:-$_pod_x}
done
set +f
IFS=$_pod_i
esac
[ -e "$_pod_p" ] || { _pod_m N; exit 127; }
[ -f "$_pod_p" ] && [ -x "$_pod_p" ] || { _pod_m X; exit 126; }
_pod_x=$_pod_p _pod_p=0
read -r _pod_p _pod_i </proc/self/stat
_pod_m "B$_pod_p"
[ "$_pod_v" = 0 ] || exec env -- "$@" 2>&3 3>&-
if [ -n "$_pod_q" ] && [ "$_pod_q" = "$(command -v -- "$_pod_q")" ]; then shift; exec "$_pod_x" "$@" 2>&3 3>&-; fi
exec "$@" 2>&3 3>&-
}
if [ -n "$_pod_w" ]; then
exec 3>&1 2>/dev/null
stty rows "$_pod_w" cols "$_pod_h" <&3
_pod_r "$@"
else
exec 3>&2 2>/dev/null
(_pod_r "$@")
_pod_n=$?
_pod_m "E$_pod_n"
_pod_m "E$_pod_n" 3>&1
[ -z "$_pod_s" ] || cat >/dev/null || while read -r _pod_x; do :; done
exit "$_pod_n"
fi

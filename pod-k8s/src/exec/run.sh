_pod_t=$1 _pod_w=$2 _pod_h=$3 _pod_d=$4 _pod_n=$5 _pod_v=$6 _pod_l=$7
shift 7
while [ "${_pod_l#-}" -gt 0 ]; do
IFS= read -r _pod_x
_pod_x=$(printf '%b.' "$_pod_x")
set -- "$@" "${_pod_x%.}"
case $_pod_l in
-1) exec </dev/null; _pod_l=0 ;;
-*) _pod_l=$((_pod_l+1)) ;;
*) _pod_l=$((_pod_l-1)) ;;
esac
done
_pod_m() { printf '\001pod:%s:%s\002' "$_pod_t" "$1" >&3; }
_pod_r() {
while [ "$_pod_n" -gt 0 ]; do export "$1"; shift; _pod_n=$((_pod_n-1)); done
POD_EXEC=$_pod_t
export POD_EXEC
[ -z "$_pod_d" ] || cd -- "$_pod_d" || { _pod_m D; exit 125; }
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
exit "$_pod_n"
fi

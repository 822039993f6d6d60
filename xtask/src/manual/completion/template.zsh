#compdef @PROGRAM@

local -a typed offers
local i
case $words[CURRENT-1] in
@VALUES@
esac
for ((i = 2; i < CURRENT; i++)); do
  case $words[i] in
    (@VALUED@) ((i++)) ;;
    (-*) ;;
    (*) typed+=($words[i]) ;;
  esac
done
case "$typed" in
@STATES@
esac
offers+=(@GENERAL@)
_describe -o @PROGRAM@ offers

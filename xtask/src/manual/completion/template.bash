@FUNCTION@() {
  local current=${COMP_WORDS[COMP_CWORD]} typed=() offers= i
  COMPREPLY=()
  case ${COMP_WORDS[COMP_CWORD-1]} in
@VALUES@
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      @VALUED@) ((i++)) ;;
      -*) ;;
      *) typed+=("${COMP_WORDS[i]}") ;;
    esac
  done
  case "${typed[*]}" in
@STATES@
  esac
  COMPREPLY=($(compgen -W "$offers @GENERAL@" -- "$current"))
}
complete -F @FUNCTION@ @PROGRAM@

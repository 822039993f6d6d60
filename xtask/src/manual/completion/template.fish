# Whether what was typed, without options and their values, is like the pattern.
function @FUNCTION@
    set -l typed
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case @VALUED@
                set skip 1
            case '-*'
            case '*'
                set -a typed $word
        end
    end
    string match -q -- $argv[1] "$typed"
end

complete -c @PROGRAM@ -f
@GENERAL@
@STATES@

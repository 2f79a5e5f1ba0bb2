
set edit:completion:arg-completer[cbrowse] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) COMPLETE="elvish" cbrowse -- $@words) | to-lines
}


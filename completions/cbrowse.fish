complete --keep-order --exclusive --command cbrowse --arguments "(COMPLETE=fish cbrowse -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"

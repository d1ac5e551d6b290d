"""HTML pages about a data set: one file each, opened from disk, nothing requested from anywhere.

`shell` is the frame they share (layout, theme, templates); each further module turns the records of one part
of the build into a page. Pictures come from files that earlier stages cached, so that a page costs next to
nothing and is written anew on each build.
"""

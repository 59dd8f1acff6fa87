# Makes a Markdown table out of a values.yaml: a row for each key under a comment that starts with `# --`. Keys are indented
# by two spaces a level. A key without such a comment must hold others, which have theirs; else it is an error.

function fail(text) {
    print FILENAME ":" FNR ": " text > "/dev/stderr"
    failed = 1
}

function cell(text) {
    gsub(/\|/, "\\|", text)
    return text
}

BEGIN {
    print "| Value | Default | What it does |"
    print "| --- | --- | --- |"
}

# The first line of a description, and those that go on with it.
/^ *# -- / {
    description = $0
    sub(/^ *# -- /, "", description)
    next
}
/^ *# / && description != "" {
    line = $0
    sub(/^ *# /, "", line)
    description = description " " line
    next
}
# An example after a value, and the head of the file.
/^ *#/ || /^ *$/ { next }

{
    match($0, /^ */)
    depth = RLENGTH / 2
    # Inside a documented block: part of its default.
    if (block >= 0 && inside && depth > block) {
        next
    }
    inside = 0
    if ($0 !~ /^ *[A-Za-z0-9_]+:/) {
        fail("no key and no comment: " $0)
        next
    }
    key = $0
    sub(/^ */, "", key)
    value = key
    sub(/:.*/, "", key)
    sub(/^[A-Za-z0-9_]+: */, "", value)
    names[depth] = key
    path = names[0]
    for (i = 1; i <= depth; i++) {
        path = path "." names[i]
    }
    if (description == "") {
        if (value != "") {
            fail(path " has no description: write `# -- ...` above it")
        }
        next
    }
    if (value == "") {
        inside = 1
        block = depth
        value = "see values.yaml"
    } else {
        value = "`" value "`"
    }
    print "| `" path "` | " cell(value) " | " cell(description) " |"
    description = ""
}

END { exit failed }

"""On the path of Ray's processes in place of the package, whose import takes them seconds each."""

raise ImportError("jsonschema does without")

# Rules of the user's own: files rules/own_<name>.smk, if there are any (docs/extend.md).

for path in sorted(Path(workflow.basedir).glob("rules/own_*.smk")):

    include: str(path)

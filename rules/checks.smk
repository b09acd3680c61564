# What can be checked only when all rules are there.

try:
    check_rules(
        config["resources"],
        read_yaml("config/resources.yaml"),
        {rule.name for rule in workflow.rules},
    )
except UserError as error:
    raise WorkflowError(str(error))

workflow.localrules(
    *{rule.name for rule in workflow.rules}.intersection(
        local_rules(RESOURCES, config["cluster"])
    )
)

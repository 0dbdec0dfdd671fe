"""From a configuration to the stages of its training: one module a kind of network.

Each has STAGES, the names of its stages in their order, `check`, which refuses a configuration
that cannot be used, and `prepare`, which makes a Task of a stage. Imports everything but evaluation
and reports.
"""

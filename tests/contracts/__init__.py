"""The contract suite: what every method, network and dataset promises, as functions that anybody can call.

    from tests.contracts.checks_methods import certify
    certify(MyMethod)

or ``make contract METHOD=my_method`` for a file in ``methods/``.
"""

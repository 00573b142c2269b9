"""The work of `study/export.py`: write a trial as a bundle."""

from argparse import Namespace

from study.bundle.exporting.export import Wanted, export


def run(options: Namespace) -> int:
    """Export and say where the bundle lies."""
    wanted = Wanted(
        study=options.study,
        best=None if options.trial else options.best,
        trial_id=options.trial,
        licence={"weights": options.licence, "data": options.data_licence},
        train_again=options.train_again,
        anyway=options.anyway,
    )
    print(f"bundle       {export(wanted, options.out, options.force, print)}")
    return 0

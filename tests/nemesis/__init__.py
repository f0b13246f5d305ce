"""Let people work while everything around them breaks, then look whether what they were promised was kept.

    python -m tests.nemesis [--profile short] [--seed 7] [--seeds 10] [--strikes kill_worker,load] [--operations count] [--keep FOLDER]

`installation` starts PostgreSQL, SeaweedFS, two web processes and three workers; `people` ask for jobs and write down what
they were promised; `strikes` kill, stop and starve all of it meanwhile, by a seed that is printed; `audit` compares
what is there afterwards with what was promised; `planted` breaks the source on purpose, and says which of these faults
the audit finds.
"""

"""Telling others of a run: GitHub by a comment, a check or an issue, and the workflow that it is a step of.

    surroundings -> which repository, pull request and commit: from the Actions environment, or options
    news         -> what there is to say: it is running, it is finished, it broke off
    comment, check, issue -> a place each, which is brought to say it; found again, never posted twice
    client       -> GitHub's REST API, with its limits and its lost answers
    live         -> a watcher of the run, which brings the places up to date on a thread of its own
    workflow     -> annotations, the step's summary and outputs

Everything here derives from results.json; nothing of it changes a run's verdict.
"""

"""Exit statuses, the same for every command:

0  it did what was asked
1  it did, and the answer is no: a check failed, a case differs, a person or policy refused
2  it cannot be done as asked: the command line or the configuration is wrong
3  something else is not there now: the audit store, a target, a credential, a gateway, standard output
130  Ctrl-C ended it
141  whoever read its output went away
"""

from __future__ import annotations

OK = 0
NEGATIVE = 1
MISUSED = 2
UNAVAILABLE = 3
INTERRUPTED = 130
UNREAD = 141

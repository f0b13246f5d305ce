"""Say in the reader's language what the core wrote down in English: reasons, warnings, progress, errors.

Jobs store sentences, as they run where no reader is. Each message in `MESSAGES` is the English of one kind of
sentence with its variable parts named; a sentence that fits is said by its translation, with the parts
translated in turn. What fits none is shown as it was written.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from ecluse.web.i18n import NBSP, Words


def N_(message: str) -> str:  # noqa: N802 (the name gettext tools look for)
    """Mark a message for translation without translating it yet."""
    return message


def translated(text: str, say: Words) -> str:
    """The sentence in the reader's language where a message fits it, else as it stands."""
    if say.language == "en" or not text:
        return text
    for pattern, message in _patterns():
        match = pattern.fullmatch(text)
        if match:
            parts = match.groupdict()
            return say._(
                message, **{k: part if k in NAMES else _part(part, say) for k, part in parts.items()}
            )
    return text


def _part(text: str, say: Words) -> str:
    """A variable part: a number takes the language's marks, a phrase its translation, a name stays."""
    number = re.fullmatch(r"(-?\d{1,3}(?:,\d{3})*|-?\d+)(\.\d+)?( ?%)?", text)
    if number is None:
        return translated(text, say)
    whole, decimals, percent = number.groups(default="")
    sign = percent.replace(" ", NBSP)
    return whole.replace(",", NBSP) + decimals.replace(".", ",") + sign


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Each message as a pattern; those with the most fixed text first, as they fit the fewest sentences."""
    ordered = sorted(MESSAGES, key=lambda message: -len(_PLACE.sub("", message)))
    return tuple((re.compile(_as_pattern(message), re.DOTALL), message) for message in ordered)


def _as_pattern(message: str) -> str:
    pieces = _PLACE.split(message.replace("%%", "%"))
    return "".join(f"(?P<{piece}>.+?)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))


#: Parts that a person wrote: columns, files, values. They are shown as they are, whatever they look like.
NAMES: Final = frozenset({"name", "column", "columns", "file", "value", "values", "email", "model", "word"})
_PLACE: Final = re.compile(r"%\((\w+)\)s")

MESSAGES: Final[tuple[str, ...]] = (
    # Tables that cannot be read
    N_("%(file)s is empty (0 bytes). Pick a file with a header and rows."),
    N_("%(file)s is empty once unpacked. Pick a file with a header and rows."),
    N_("%(file)s has a header and no rows. Add rows, or pick another file."),
    N_("%(file)s holds no text but blanks. Pick a file with a header and rows."),
    N_("%(file)s holds binary data, not a table. Save the table as CSV, XLSX or Parquet."),
    N_("%(file)s is text in no known encoding, or no text. Save it as UTF-8."),
    N_("%(file)s is %(what)s. Save the table as CSV, XLSX or Parquet."),
    N_("%(file)s is a ZIP archive, not an Excel workbook. Unpack it and pick one table."),
    N_("%(file)s is a damaged workbook: %(error)s. Save it again."),
    N_("%(file)s is a damaged gzip file: %(error)s. Compress it again."),
    N_("%(file)s is no complete Parquet file: %(error)s. Export it again."),
    N_("%(file)s has %(columns)s columns; at most %(most)s can be read. Remove columns, or transpose it."),
    N_("%(file)s unpacks to more than 1 GiB. Save the table as CSV or Parquet."),
    N_("Line %(line)s has %(some)s; the header has %(count)s. Correct the line and try again."),
    N_("%(count)s values"),
    N_("1 value"),
    N_('Line %(line)s opens a quote (") that is not closed. Close it, or double a quote meant as text.'),
    N_('Line %(line)s has a quote (") inside a value. Double it, or put the whole value in quotes.'),
    N_("Line %(line)s has a NUL byte: the file is not text."),
    N_("a PDF document"),
    N_("a JSON document"),
    N_("an XML document"),
    N_("All header cells are numbers: the file may lack a header, and its first row is then lost."),
    N_("The text is read as %(encoding)s."),
    N_("Column %(position)s %(reason)s; it is called %(name)s here."),
    N_("repeats the name %(name)s"),
    # Uploads and forms
    N_("The file is empty. Nothing was kept."),
    N_("The upload ended before the file did. Nothing was kept; send it again."),
    N_("%(name)s cannot be a model name: use 1 to 64 letters, digits, dots, hyphens or underscores, "
       "beginning with a letter or digit."),
    N_("No label column could be guessed. Name it: target_column"),
    N_("%(file)s could not be read: %(error)s"),
    # Accounts
    N_("No account has this address and password. Check both, or make an account."),
    N_("That is not your current password."),
    N_("The password has %(count)s characters; use at least %(least)s."),
    N_("%(email)s is not an e-mail address such as name@example.org."),
    N_("%(email)s already has an account. Sign in, or use another address."),
    N_("Too many failed sign-ins for this address. Wait 5 minutes."),
    N_("This sign-in link was used before or is too old. Sign in with your password, "
       "or make a new link: ecluse users link EMAIL"),
    N_("A token needs a name, such as the program that will use it."),
    # Jobs
    N_("The job was cancelled."),
    N_("The training was cancelled."),
    N_("The job was stopped by a fault of ours. The worker's log has it under reference %(reference)s."),
    N_("%(done)s / %(total)s"),
    N_("A fault of ours stopped this. Nothing more is known here."),
    N_("There is nothing at this address."),
    # Splits and columns left out
    N_("By time: the earliest rows train, the next validate, the latest test."),
    N_("At random: identical rows stay in one part, fraud spread evenly."),
    N_("At random: all rows of one %(column)s stay in one part, fraud spread evenly."),
    N_("Rows are split at random, not by time: %(trouble)s. Expect lower figures on later rows."),
    N_("the time column has fewer than three distinct values"),
    N_("a part by time would hold one class only"),
    N_("All %(rows)s labelled rows are fraud. Add rows that are not, or choose another column."),
    N_("%(positives)s of %(rows)s rows are fraud; at least %(least)s are needed: one each to train, validate and "
       "test. Label more rows, or choose another target column."),
    N_("Only %(others)s of %(rows)s rows are not fraud; at least %(least)s are needed."),
    N_("%(share)s missing"),
    N_("constant"),
    N_("all distinct: cannot generalise"),
    N_("a running number: cannot generalise"),
    N_("duplicate of %(column)s"),
    N_("weaker alone than the %(count)s strongest columns"),
    N_("%(column)s alone separates fraud almost perfectly (ROC AUC %(auc)s). If it is filled in after the fraud is "
       "known, leave it out."),
    # Guesses about a table, and what to check in it
    N_('two values, %(share)s "%(value)s"; %(why)s'),
    N_('the name contains "%(word)s"'),
    N_("the name is usual for a label"),
    N_('values repeat; the name contains "%(word)s"'),
    N_("every value is different"),
    N_("nearly every value is different"),
    N_("dates over %(days)s days"),
    N_("dates over %(hours)s hours"),
    N_('a number that counts time; it is called "%(name)s"'),
    N_("years %(first)s to %(last)s only: coarse"),
    N_("one value only"),
    N_("no value"),
    N_("more than 99 %% missing"),
    N_("Exact duplicates of another row: %(count)s."),
    N_("Exact duplicates of another row: %(count)s of %(rows)s sampled."),
    N_("%(columns)s: one value only; it tells nothing."),
    N_("Positive rows: %(count)s, fewer than %(few)s; the figures of any model will be uncertain."),
    N_("%(column)s alone separates the two classes (ROC AUC %(auc)s): check that it is known before the outcome, "
       "or leave it out."),
    N_("%(column)s is filled for %(which)s rows only: check that it is known before the outcome."),
    # Progress
    N_("Counting rows"),
    N_("%(count)s rows"),
    N_("%(done)s of %(rows)s rows"),
    N_("%(count)s rows read"),
    N_("Looking at each column"),
    N_("Looking for what to check"),
    N_("Profiled"),
    N_("Reading the table"),
    N_("Making features"),
    N_("%(model)s, %(number)s of up to %(total)s. %(so_far)s"),
    N_("First fit"),
    N_("Best so far: average precision %(figure)s"),
    N_("Calibrating on the validation rows"),
    N_("Measuring on the test rows"),
    N_("Saving the model"),
    # Training
    N_("an identifier"),
    N_("left out on request"),
    N_("orders the rows: its values do not come back"),
    N_("%(count)s rows without a value of %(column)s were left out."),
    N_("Only %(count)s rows are fraud: every figure is uncertain, see the intervals."),
    N_("The test part holds only %(count)s frauds; see the intervals."),
    N_("The model ranks the test rows little better than chance; do not rely on its scores."),
    N_("%(column)s holds %(values)s only; two values are needed to learn."),
    N_("%(column)s has %(count)s values (%(values)s). Name the one that means fraud."),
    N_('%(column)s never holds "%(value)s". Its values: %(values)s.'),
    N_("No column is left to learn from: all are constant, all distinct or left out."),
    # Scoring
    N_("%(file)s lacks %(count)s column(s) of the model: %(columns)s. Add or rename them."),
    N_("%(file)s does not fit the model: %(problems)s. Correct the columns."),
    # Reasons of a score, and names of features
    N_("%(name)s first seen for this customer"),
    N_("%(name)s known for this customer"),
    N_("%(name)s first seen"),
    N_("%(name)s seen %(count)s times before"),
    N_("%(name)s has %(count)s earlier rows"),
    N_("%(name)s %(times)s × usual"),
    N_("%(name)s %(amount)s, %(count)s deviations above usual"),
    N_("%(name)s %(amount)s, %(count)s deviations below usual"),
    N_("%(name)s %(amount)s, no usual known"),
    N_("%(time)s since the last row of this %(name)s"),
    N_("%(count)s days"),
    N_('%(name)s "%(value)s" rare or unseen in training'),
    N_('%(name)s "%(value)s" (%(share)s fraud before)'),
    N_("%(name)s missing"),
    N_("%(count)s values missing"),
    N_("%(name)s: hour %(hour)s"),
    N_("%(name)s: day %(day)s"),
    N_("%(name)s: month %(month)s"),
    N_("%(name)s: hour"),
    N_("%(name)s: day"),
    N_("%(name)s: weekday"),
    N_("%(name)s: month"),
    N_("%(name)s: seen"),
    N_("%(name)s: fraud rate"),
    N_("%(name)s: earlier rows"),
    N_("%(name)s: since the customer's last row"),
    N_("%(name)s: times the customer's usual"),
    N_("%(name)s: distance from the customer's usual"),
    N_("%(name)s: new for the customer"),
    N_("missing values"),
    # Other choices that cannot be used, kinds of columns, days
    N_("tells customers apart: those of the test rows are new"),
    N_('%(file)s has no column "%(column)s". Its columns: %(columns)s.'),
    N_('%(column)s has %(count)s values; "%(value)s" was learned against all others.'),
    N_('"%(column)s" reads as %(kind)s, not as a date or a number. Choose another column.'),
    N_('No value of "%(column)s" reads as a date or a number. Choose another column.'),
    N_("No column is left to learn from: the table holds the target and identifiers only."),
    N_("No feature varies over the training rows; there is nothing to learn from."),
    N_('"%(column)s" is the target and cannot have another role. Choose another column.'),
    N_('%(column)s should hold a %(kind)s, and holds "%(value)s"'),
    N_("All fraud belongs to %(owner)s; three parts cannot each hold some. Leave the customer column out, or label "
       "more rows."),
    N_("%(count)s value(s) of %(column)s"),
    N_("identical rows"),
    N_("Many rows are identical; equal rows stand on both sides of the split."),
    N_("%(done)s of %(total)s columns"),
    N_("%(name)s: Monday"),
    N_("%(name)s: Tuesday"),
    N_("%(name)s: Wednesday"),
    N_("%(name)s: Thursday"),
    N_("%(name)s: Friday"),
    N_("%(name)s: Saturday"),
    N_("%(name)s: Sunday"),
)  # fmt: skip

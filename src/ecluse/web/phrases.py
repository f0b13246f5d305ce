"""Say in the reader's language what the core wrote down in English: reasons, warnings, progress, errors.

Jobs store sentences, as they run where no reader is. Each message in `MESSAGES` is the English of one kind of
sentence with its variable parts named; a sentence that fits is said by its translation, with the parts
translated in turn. What fits none is shown as it was written: the words of libraries within an error, what a
terminal is told when a process starts, very long texts, and a model's card.
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
    """The sentence in the reader's language where a message fits it; else, or beyond `LONGEST`, as it stands."""
    if say.language == "en" or not 0 < len(text) < LONGEST:
        return text
    for pattern, message in _patterns():
        match = pattern.fullmatch(text)
        if match:
            parts = match.groupdict()
            return say._(
                message, **{k: part if k in NAMES else _part(k, part, say) for k, part in parts.items()}
            )
    return text


def _part(place: str, text: str, say: Words) -> str:
    """A variable part: a number takes the language's marks, a phrase or each of several its translation."""
    number = re.fullmatch(r"(-?\d{1,3}(?:,\d{3})*|-?\d+)(\.\d+)?(e[+-]?\d+)?( ?%)?", text)
    if number is None:
        separator = LISTS.get(place)
        several = text.split(separator) if separator else [text]
        return (separator or "").join(translated(one, say) for one in several)
    whole, decimals, power, percent = number.groups(default="")
    sign = NBSP + "%" if percent else ""
    return whole.replace(",", NBSP) + decimals.replace(".", ",") + power + sign


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Each message as a pattern; those with the most fixed text first, as they fit the fewest sentences."""
    ordered = sorted(MESSAGES, key=lambda message: -len(_PLACE.sub("", message)))
    return tuple((re.compile(_as_pattern(message), re.DOTALL), message) for message in ordered)


def _as_pattern(message: str) -> str:
    pieces = _PLACE.split(message.replace("%%", "%"))
    return "".join(
        f"(?P<{piece}>{_SHAPES.get(piece, '.+?')})" if i % 2 else re.escape(piece)
        for i, piece in enumerate(pieces)
    )


#: Looking for what fits takes the square of a text's length.
LONGEST: Final = 2_000
#: Parts that a person wrote: columns, files, values. They are shown as they are, whatever they look like.
NAMES: Final = frozenset(
    {"name", "column", "columns", "file", "value", "values", "email", "model", "word", "key", "store"}
)
#: Parts that hold several phrases, and what stands between them.
LISTS: Final = {"missing": ", ", "problems": "; ", "findings": "; "}
#: Parts that can be of one shape only, so that no other sentence is taken for theirs.
_NUMBER: Final = r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?: ?%)?"
_SHAPES: Final = dict.fromkeys(("count", "number", "rows", "done", "total", "days", "hours"), _NUMBER) | {
    "time": r"\d+ (?:days|h|min|s)",
    "feature": ".+: .+",
}
_PLACE: Final = re.compile(r"%\((\w+)\)s")

MESSAGES: Final[tuple[str, ...]] = (
    # Fine-tuning
    N_("Epoch %(number)s of %(count)s"),
    N_("Looking at every image once"),
    N_("Reading image %(number)s of %(count)s"),
    N_("Starting a process for each device"),
    N_("The checkpoint is of another format."),
    N_("The checkpoint is damaged."),
    N_("%(reason)s The training begins again."),
    N_("The checkpoint is of other images or options."),
    N_("The loss is no longer a number in epoch %(number)s. Use a learning rate smaller than %(count)s."),
    N_("There is no image to learn from, or none to validate on. Split the images anew."),
    N_("%(name)s is %(value)s; it has to be greater than 0."),
    N_("The device cuda was asked for, but torch sees no GPU. Use the device auto or cpu."),
    N_("The image %(file)s cannot be learned from: %(reason)s"),
    N_("The processes of the training ended with %(number)s: %(value)s"),
    N_("Weights do not fit %(name)s: %(values)s."),
    N_(
        'Fine-tuning needs torch, which is not installed. In a checkout: ./run plants train --recipe finetune'
        ' installs it. In an environment of your own: uv pip install --torch-backend=auto "ecluse[plants]". '
        'The recipe features needs no torch.'
    ),
    # Trainings on images
    N_("Images are being imported into %(name)s. Wait until they are there."),
    N_("A model tells at least two labels apart; %(name)s has %(values)s. Import images of another."),
    N_('There is no recipe "%(word)s"; there are %(values)s.'),
    N_('There is no architecture "%(word)s"; there are %(values)s.'),
    N_("The recipe %(name)s cannot learn with %(word)s; it takes %(values)s. Choose another recipe."),
    N_("%(value)s cannot be the number of epochs; use 1 to %(most)s."),
    N_("%(value)s cannot be the batch size; use 1 to %(most)s."),
    N_("%(value)s cannot be the seed; use 0 to %(most)s."),
    N_("%(value)s cannot be the learning rate; use more than 0 and at most 1."),
    N_("%(count)s images of the split were removed while the training began. Train again."),
    N_("The image %(file)s was changed in the store or is gone since it was imported. Leave it out: "
       "ecluse plants exclude SET %(key)s"),
    N_("It is gone from the store; the training began anew."),
    N_("It was damaged in the store; the training began anew."),
    N_("The test part is small: %(reason)s."),
    N_("%(right)s of %(of)s right is %(share)s (%(low)s to %(high)s)"),
    N_('Only %(count)s test images of "%(name)s": its precision and recall are rough.'),
    N_('The model is not clearly better than answering "%(name)s" every time, which is right for '
       '%(right)s of %(of)s.'),
    N_('The labels are out of balance: %(count)s images of "%(name)s" to learn from, %(number)s of '
       '"%(word)s".'),
    N_("not checked: torch is not installed"),
    N_("%(name)s is no model of images. Name one: ecluse models list"),
    # Audits, splits and exports of images
    N_("%(name)s has no images yet. Import some: ecluse plants import DIR"),
    N_("A classifier tells labels apart, and the set has %(count)s. Import images of another label."),
    N_("Label %(name)s has only %(count)s images; from fewer than %(total)s little is learned."),
    N_(
        "Label %(name)s has %(count)s images and label %(word)s %(number)s: a classifier may favour "
        "the first. Import more of the second."
    ),
    N_("%(count)s near duplicates, %(number)s suspects"),
    N_("%(done)s of %(total)s images"),
    N_("comparing"),
    N_("judging the labels"),
    N_("No image of %(name)s is in use, so that there is nothing to export."),
    N_("%(file)s is not empty. Give another folder, or empty it."),
    N_(
        "The manifest of split %(key)s was changed in the store. Split anew: ecluse plants split SET "
        "--seed 1"
    ),
    N_("Give a share above 0 for train, validation and test, such as 0.7, 0.15 and 0.15."),
    N_("The shares of train, validation and test are %(number)s together; make them 1."),
    N_(
        "Label %(name)s has %(total)s images, of which %(count)s fall to the %(part)s part; it needs "
        "%(number)s, and images that look alike stay together. Import more of them, exclude the "
        "label's images, or split with another seed: ecluse plants split SET --seed 1"
    ),
    N_("train"),
    N_("validation"),
    N_("test"),
    # Networks, features and answers
    N_("The package %(name)s is not installed. Install it, or train from nothing with --recipe "
       "finetune --architecture resnet18."),
    N_("The package %(name)s is installed without its file %(file)s."),
    N_("The file of pretrained weights has the digest %(key)s, not %(word)s."),
    N_("The file of pretrained weights cannot be read: %(error)s."),
    N_("Images of %(count)s pixels do not fit %(name)s; take a multiple of %(number)s."),
    N_("The weights %(key)s of %(name)s should have the shape %(word)s, not %(value)s."),
    N_("The weights %(key)s of %(name)s are not all finite."),
    N_("The recipe %(name)s needs no GPU; take the device auto or cpu."),
    N_("The recipe %(name)s has no learning rate. Leave it out."),
    N_("No pretrained weights come with %(name)s. Train it from nothing."),
    N_('No training image shows "%(name)s". Import more images of it.'),
    N_("The validation part has no image. Import more images, or split with other shares."),
    N_("The graph takes images of the shape %(word)s; its transform makes them %(count)s pixels wide."),
    N_("The version has no %(file)s, which answering needs. Train the model again."),
    N_("The files of the version do not fit each other: %(error)s. Train the model again."),
    N_("%(file)s is not understood"),
    N_("%(file)s has %(count)s labels, %(name)s %(number)s"),
    N_("%(file)s is no graph that can be run. Train the model again."),
    # Exports to MLflow
    N_("No MLflow server is named. Set ECLUSE_MLFLOW_URL, such as http://127.0.0.1:5000; to start one: "
       "ecluse mlflow serve"),
    N_('MLflow is not installed. Install it: pip install "ecluse[mlflow]"'),
    N_("The export to MLflow ended with code %(number)s; the worker's log says more."),
    N_("The MLflow server %(url)s refuses the token (%(number)s). Set ECLUSE_MLFLOW_TOKEN to one that it takes."),
    N_("The MLflow server %(url)s does not answer. Start it: ecluse mlflow serve. What is due is exported once "
       "it does."),
    N_("The MLflow server %(url)s cannot take this run: %(error)s"),
    N_("The experiment %(name)s was deleted there. Restore it, or delete it for good."),
    N_("The registered models %(values)s there are someone else's."),
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
    N_("The text is read as %(encoding)s."),
    N_("Column %(position)s %(reason)s; it is called %(name)s here."),
    N_("repeats the name %(name)s"),
    # Images that are sent to be classified
    N_("Too many images arrive at once. Nothing was kept; try again in a few seconds."),
    N_("More uploads wait than can be stored soon. Nothing was kept; try again later."),
    N_("More images wait than can be looked at soon. Nothing was kept; try again in 2 seconds."),
    N_("The upload is larger than %(count)s MB, the most that an image may have. Send less."),
    N_("The upload is larger than %(count)s MB, the most that the images of one request "
       "may have together. Send less."),
    N_("The request carries more than %(count)s files. Send them in several."),
    N_("No image was chosen. Choose one or several."),
    N_("%(name)s is no model of images. See: GET /api/models"),
    N_("You have no model of images yet. Train one: ecluse plants train --name NAME"),
    # Uploads and forms
    N_("The file is empty. Nothing was kept."),
    N_("The upload is larger than %(count)s MB, the most this server accepts. Split it, or raise "
       "ECLUSE_UPLOAD_MAX_BYTES."),
    N_("The connection was closed before the upload was complete. Nothing was kept."),
    N_("The request is not well-formed multipart/form-data: %(error)s."),
    N_("The upload ended before the file did. Nothing was kept; send it again."),
    N_("The form has more than %(count)s files. Put them into an archive."),
    N_("The form has more than %(count)s fields."),
    N_("The fields of the form are longer than %(count)s bytes."),
    N_("The request carries no file. Choose an archive or images."),
    N_("The list names no address."),
    N_("No image is ticked. Tick those that the change is for."),
    N_('"%(value)s" is no whole number.'),
    N_('There is no choice "%(value)s". Choose one of the form.'),
    N_("%(name)s cannot be a model name: use 1 to 64 letters, digits, dots, hyphens or underscores, "
       "beginning with a letter or digit."),
    N_("No label column could be guessed. Name it: target_column"),
    N_("%(file)s could not be read: %(error)s"),
    # The city
    N_("%(value)s is no date. Write it as 2025-10-14."),
    N_("The range ends on %(last)s, before it begins on %(first)s. Exchange them."),
    N_("That range has %(days)s days; ask for %(most)s at most."),
    N_("Only administrators compute days of the city. Ask one of yours."),
    N_("Only administrators migrate what is stored. Ask one of yours."),
    N_("%(place)s holds raw data that is not the sample's, such as %(key)s; nothing was written. Write the sample "
       "elsewhere: ecluse city demo --raw file:///another/folder"),
    N_("feeds of %(day)s"),
    N_("roads of %(day)s"),
    N_("%(value)s is no period. Write it as 2025-10-01..2025-10-07."),
    N_("There is no raw data for %(day)s in %(place)s. The nearest with data: %(days)s."),
    N_("There is no raw data for %(day)s in %(place)s, nor for any other day. %(reason)s"),
    N_("%(count)s files or folders were seen and not taken: %(values)s. See: ecluse city check %(key)s"),
    N_("%(count)s of %(total)s arcs lie outside every zone, so that the figures by zone lack them. The zones are "
       "probably those of another place, or not in degrees: %(values)s. Put the polygons of this city there and "
       "compute the day again."),
    N_("There is no raw data for %(day)s in %(place)s, nor for any other day. "
       "Get some: ecluse city fetch, or ecluse city demo"),
    N_("Nothing is known of %(day)s. The nearest days that are known: %(days)s. See: ecluse city days"),
    N_("Nothing is known of %(day)s: no day was computed yet. See: ecluse city run --date %(value)s"),
    N_("The last day, %(last)s, is before the first, %(first)s."),
    N_("%(day)s is no day of a city; ask for one from %(first)s to %(last)s."),
    N_("%(day)s is more than %(count)s days ago. Begin with a later day."),
    N_(
        "The raw data tells of %(count)s arcs, and a day is computed of %(most)s at most. Look at the reference of the "
        "arcs."
    ),
    N_("%(first)s to %(last)s are more than %(most)s days. Take a part of them at a time."),
    N_("%(value)s is no time of the day; write it as 06:30."),
    N_("%(day)s lies ahead; a schedule begins with a day that has begun."),
    N_("Nothing could be fetched."),
    N_("%(value)s is no threshold of the city; there are %(known)s."),
    N_("ECLUSE_CITY_THRESHOLDS: %(name)s=%(value)s must be more than 0 %(unit)s."),
    N_("waiting for %(count)s days"),
    N_("writing the report"),
    N_("writing the forecast"),
    N_("writing %(what)s"),
    N_("reading %(what)s"),
    N_("waiting for 1 day"),
    N_("reading"),
    N_("learning"),
    N_("looking for %(count)s more arcs in %(file)s"),
    N_("looking for more arcs"),
    N_("fetching %(what)s: all"),
    N_("fetching %(what)s: now"),
    N_("fetching %(what)s: %(first)s to %(last)s"),
    N_("fetching %(what)s: %(day)s"),
    # What a job of the city is at, and the models of a forecast
    N_("roads"),
    N_("traffic"),
    N_("arcs"),
    N_("map"),
    N_("zones"),
    N_("ranking"),
    N_("bikes"),
    N_("sensors"),
    N_("alerts"),
    N_("disruptions"),
    N_("weather"),
    N_("works"),
    N_("quality"),
    N_("typical day"),
    N_("recent level"),
    # Open data that could not be fetched
    N_("%(name)s did not give %(file)s in %(count)s attempts: %(why)s. Look at your connection, or "
       "whether the portal is up, and give the same command again: what was fetched stays."),
    N_("the answer ended after %(done)s of %(total)s bytes"),
    N_("the answer is another part of the file than was asked for"),
    N_("the answer broke off"),
    N_("it answers %(number)s %(words)s"),
    N_("it no longer has the part that was asked for"),
    N_("the packed answer is damaged: %(error)s"),
    N_("the packed answer ended early"),
    N_("%(name)s asks to be left alone for %(count)s s. Give the same command again after that: what was "
       "fetched stays."),
    N_("%(file)s has more than %(count)s bytes; it is not what was asked for."),
    N_("%(value)s is no address of a portal; it begins with https:// or http://."),
    N_("An address at %(name)s carries a name or a password; give it without."),
    N_("%(name)s refuses %(file)s (%(number)s). Where it asks for a key, look at the one you set."),
    N_("%(name)s answers %(number)s to %(file)s."),
    N_("%(name)s answers %(number)s to %(file)s: %(words)s."),
    N_("%(name)s sends on to %(file)s, which is not asked. If the portal moved: ecluse city fetch "
       "--portal https://its-address"),
    N_("The certificate of %(name)s cannot be trusted: %(error)s."),
    N_("%(name)s answers %(file)s with %(what)s where %(value)s was asked for. Open the address in a "
       "browser to see what it says."),
    N_("something that has no type"),
    N_("%(file)s comes packed as %(value)s, which was not asked for."),
    N_("From %(first)s to %(last)s is no period that has passed; there is no data to fetch yet."),
    N_("%(store)s holds the sample, which is invented; nothing was fetched. Fetch elsewhere: ecluse city "
       "fetch --raw file:///another/folder, or remove the sample: ecluse city demo --remove"),
    N_("Of %(store)s and its fallback %(other)s one holds invented data and the other measured; one "
       "cannot stand in for the other. Change ECLUSE_RAW_FALLBACK_URL."),
    N_("%(store)s holds the sample, which is invented, and other data beside it, such as %(file)s; no "
       "day is made of both. Put the other data elsewhere, or remove the sample: ecluse city demo "
       "--remove"),
    N_("This home has measured days (%(days)s), and the raw data is invented; the two are not mixed. "
       "Compute invented days in a home of their own: --home FOLDER"),
    N_("This home has invented days (%(days)s), and the raw data is measured; the two are not mixed. "
       "Remove the sample and its days: ecluse city demo --remove. Or compute these days in another "
       "home: --home FOLDER"),
    N_("%(file)s is no list of records; the portal may have changed its form."),
    N_("%(file)s is no weather by the hour; the service may have changed its form."),
    N_("%(file)s lacks disruptions or lines; the portal may have changed its form."),
    N_("%(file)s begins with the column %(value)s, not with %(column)s; the portal may have changed its "
       "form."),
    N_("%(file)s ends within a line; give the same command again."),
    N_("%(file)s is no GeoJSON; the portal may have changed its form."),
    N_("%(file)s is no whole JSON: %(error)s. Give the same command again."),
    # Accounts
    N_("No account has this address and password. Check both, or make an account."),
    N_("Accounts are made by an administrator here. Ask one of yours."),
    N_("Choose what is to be done with the account."),
    N_("That is not your current password."),
    N_("This password is on the list of those that guessers try first. Use another, such as four words "
       "that have nothing to do with each other."),
    N_("This password is the e-mail address or the name of the service, or little more. Use another, "
       "such as four words that have nothing to do with each other."),
    N_("This password repeats one character, or follows the keyboard or the alphabet. Use another, such "
       "as four words that have nothing to do with each other."),
    N_("This account is disabled. Ask an administrator."),
    N_("An API token does not do this. Sign in on the page and do it on your account page."),
    N_("This account has no password yet. Set one in the terminal of this Écluse: ecluse users password "
       "%(email)s"),
    N_("A token lasts 30, 90 or 365 days, or until it is ended; not %(days)s days."),
    N_("%(value)s is no number of days."),
    N_("The first account administers, and needs the secret that the terminal printed when this Écluse "
       "started. Start it again for another, or make the account there: ecluse users add EMAIL --role "
       "administrator"),
    N_("Pages are for people who signed in, and take no API token. A program asks the API: its addresses"
       " begin with /api/. A person leaves the Authorization header out and signs in."),
    N_("This API token does not administer. An administrator makes one that does on the account page."),
    N_("%(email)s is the last account that administers, and stays as it is. Let another one administer "
       "first: ecluse users role EMAIL administrator"),
    N_("The password has %(count)s characters; use at least %(least)s."),
    N_("%(email)s is not an e-mail address such as name@example.org."),
    N_("%(email)s already has an account. Sign in, or use another address."),
    N_("Too many sign-ins have failed of late. Nothing was tried; try again in %(time)s. A browser in which you "
       "signed in before need not wait."),
    N_("The password was wrong too often of late. Nothing was tried; try again in %(time)s."),
    N_("Too many accounts have been asked for of late. None was made; try again in %(time)s."),
    N_("Many people sign in at this moment. Nothing was tried; try again in 2 seconds."),
    N_("This sign-in link was used before or is too old. Sign in with your password, "
       "or make a new link: ecluse users link EMAIL"),
    N_("A token needs a name, such as the program that will use it."),
    # Jobs
    N_("The job was cancelled."),
    N_("The training was cancelled."),
    N_("Job %(value)s is no training: it has no best so far to keep. Cancel it instead."),
    N_("The job was stopped by a fault of ours. The worker's log has it under reference %(reference)s."),
    N_("%(done)s / %(total)s"),
    N_("%(done)s of %(total)s MB"),
    N_("A fault of ours stopped this. Nothing more is known here."),
    N_("There is nothing at this address."),
    # Splits and columns left out
    N_("By time: the earliest rows train, the next validate, the latest test."),
    N_("At random: identical rows stay in one part, fraud spread evenly."),
    N_("At random: all rows of one %(column)s stay in one part, fraud spread evenly."),
    N_("Rows are split at random, not by time: %(trouble)s. Expect lower figures on later rows."),
    N_("the time column has fewer than three distinct values"),
    N_(
        'Only %(share)s of the rows are early enough to train on: "%(column)s" is too coarse to cut at 60 %%. '
        "Choose a finer time column, or none."
    ),
    N_(
        "Training took %(count)s s instead of %(budget)s s: reading and describing so many values takes longer. "
        "Leave columns out, or give it more time."
    ),
    N_(
        "Training took %(count)s s of work instead of %(budget)s s: so many values take longer to read, describe and "
        "learn once. Leave columns out, or give it more time."
    ),
    N_(
        "Other programs had the processor: %(work)s s of work took %(count)s s. As much was tried as on a quiet "
        "machine."
    ),
    N_(
        "The training was given up after %(count)s s and publishes nothing. Other programs had the processor: of the "
        "time it asked for it was given %(share)s, %(work)s s of %(budget)s s of work. Train again when the machine "
        "has less to do."
    ),
    N_(
        "The training was given up after %(count)s s and publishes nothing. So many rows and columns take longer than "
        "%(budget)s s. Leave columns out, train on fewer rows, or give it a larger budget."
    ),
    N_('%(count)s rows have no readable "%(column)s" and count as the earliest.'),
    N_("Fitting the best on further folds"),
    # Trainings that cannot be repeated
    N_("This version was trained before trainings were recorded and cannot be made again. Train anew."),
    N_(
        "The table is the sample: its payments and frauds are invented, "
        "so that these figures say nothing of real ones."
    ),
    N_("The images are the sample: its leaves are drawn, so that these figures say nothing of photographs."),
    N_("%(file)s is of another format. Train anew."),
    N_("%(file)s says %(value)s for %(key)s, which no training decides. Train anew."),
    N_("%(file)s is damaged: %(reason)s. Train anew."),
    N_(
        "The table is not the one that was trained on: its SHA-256 is %(sha256)s…, not %(other)s…. Upload that one, or "
        "train anew."
    ),
    N_(
        "The training was made with %(package)s %(version)s, and here is %(other)s: its files would not be the same. "
        "Install %(name)s, or train anew."
    ),
    N_("Training %(id)s has published nothing that could be made again. Train anew."),
    N_("Training %(id)s is no search on a whole table; only such trainings can be made again."),
    N_("The table of training %(id)s was deleted. Upload it and train anew."),
    N_(
        "The training came out differently, though its table and libraries are the same: %(files)s. Nothing is "
        "published. Repeat it on the kind of processor it was made on."
    ),
    N_("a part by time would hold one class only"),
    N_("All %(rows)s labelled rows are fraud. Add rows that are not, or choose another column."),
    N_("%(positives)s of %(rows)s rows are fraud; at least %(least)s are needed: one each to train, validate and "
       "test. Label more rows, or choose another target column."),
    N_("Only %(others)s of %(rows)s rows are not fraud; at least %(least)s are needed."),
    N_("%(share)s missing"),
    N_("constant"),
    N_("all distinct: cannot generalise"),
    N_("a running number: cannot generalise"),
    N_("duplicate of %(feature)s"),  # one with a colon in its name; before columns, which have none
    N_("duplicate of %(column)s"),
    N_("weaker alone than the %(count)s strongest columns"),
    N_("%(column)s alone separates fraud almost perfectly (ROC AUC %(auc)s). If it is filled in after the fraud is "
       "known, leave it out."),
    # Guesses about a table, and what to check in it
    N_('two values, %(share)s "%(value)s"; %(why)s'),
    N_("the values say fraud and not fraud"),
    N_('"%(value)s" says it of itself, and "%(values)s" the opposite'),
    N_('"%(value)s" is a word for fraud'),
    N_('"%(value)s" is a word for what is not fraud'),
    N_('the name "%(column)s" says the opposite of fraud'),
    N_("%(count)s values, and nothing says which one means fraud"),
    N_("two values, as frequent as each other, and nothing says which one means fraud"),
    N_("the rarer of two values: a guess"),
    N_("it was named"),
    N_("No label column could be guessed. Name it: in the form, with --target COLUMN, or as target_column in the API."),
    N_("No label column could be guessed. Name it: in the form, with --target COLUMN, or as target_column in the API. "
       "Columns of few values: %(values)s."),
    N_("Fraud means %(column)s = %(values)s."),
    N_("Fraud means %(column)s = %(values)s, %(share)s of the rows."),
    N_("No value of %(column)s means fraud here."),
    N_("%(column)s holds %(values)s: which value means fraud is not clear. Name it (positive), or write 1 or fraud, "
       "0 or legitimate."),
    N_("%(file)s: %(column)s holds %(values)s: which value means fraud is not clear. Name it (positive), or write 1 or "
       "fraud, 0 or legitimate."),
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
    N_("%(column)s gives the label away and is left out unless you keep it: %(why)s."),
    N_("%(column)s gives the label away and was left out: %(why)s. If it is known before the outcome, keep it."),
    N_("%(column)s seems to give the label away and was kept: %(why)s. If it is filled in after the outcome, every "
       "figure promises too much."),
    N_("gives the label away: %(why)s"),
    N_("it is filled for fraud only"),
    N_("it is filled for legitimate rows only"),
    N_("it alone separates the two classes (ROC AUC %(auc)s)"),
    N_("with %(column)s it separates the two classes (ROC AUC %(auc)s), alone it does not"),
    N_("Every column gives the label %(column)s away: %(columns)s. Keep those that are known before the outcome: in "
       "the form, with --keep COLUMN, or as keep in the API."),
    N_("An average precision of %(count)s is rarely true of fraud. The model goes by %(columns)s most: check that each "
       "is known before the outcome, and that no row is in the table twice."),
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
    N_("Looking for columns that give the label away"),
    N_("%(trial)s, %(number)s of up to %(total)s. %(so_far)s"),
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
    N_("Only %(count)s frauds are distinct: equal rows stand on both sides of the split, so that the figures are of "
       "rows that come again, not of new ones."),
    N_("%(count)s value(s) of %(column)s with %(share)s of the frauds are learned from only: the figures are of all "
       "others."),
    N_("Frauds repeat: %(total)s are %(count)s distinct rows, one of them %(number)s times. Distinct frauds: "
       "%(findings)s. The split is by time, so that equal frauds stand on both sides, as they will in use."),
    N_("Frauds repeat: %(total)s are %(count)s distinct rows, one of them %(number)s times. Distinct frauds: "
       "%(findings)s. Equal frauds stay in one part, and each distinct one counts once in threshold, figures and "
       "intervals: frauds that come again are found more often than these say."),
    N_("%(count)s to train"),
    N_("%(count)s to validate"),
    N_("%(count)s to test"),
    N_("The model ranks the test rows little better than chance; do not rely on its scores."),
    N_("The threshold was chosen to find %(share)s of fraud; of the test rows it finds %(rate)s."),
    N_("The threshold was chosen so that %(share)s of alerts are right; of the test rows %(rate)s are."),
    N_("The threshold was chosen for %(count)s alerts a day; on the test rows it raises %(number)s."),
    N_("The figures come from folds, not from a test part: each row is scored by models that have not seen it. The "
       "threshold is chosen on the same rows, so expect a little less."),
    N_("%(column)s alone ranks the test rows almost as well as the model (average precision %(count)s of %(total)s): "
       "check that it is known before the outcome, or leave it out."),
    N_("%(count)s of %(rows)s test rows equal a row that was learned from, but for identifiers and time: the figures "
       "may promise too much."),
    N_("%(count)s of %(rows)s test rows nearly equal a row that was learned from (numbers rounded to two digits): the "
       "figures may promise too much."),
    N_("%(count)s of %(total)s frauds equal a row that is labelled legitimate, but for identifiers and time: look for "
       "wrong labels, or for what tells them apart."),
    N_("%(columns)s: the latest rows differ much from the earliest (population stability index up to %(number)s). "
       "Expect more of it in use, and watch the model."),
    N_("%(columns)s and %(count)s more: the latest rows differ much from the earliest (population stability index up "
       "to %(number)s). Expect more of it in use, and watch the model."),
    N_(
        "legitimate rows that score as high as the mean fraud, and frauds that score as low as the mean "
        "legitimate row"
    ),
    N_("%(column)s holds %(values)s only; two values are needed to learn."),
    N_("Which value of %(column)s means fraud is not clear: it holds %(values)s. Name the value: in the form, with "
       "--positive VALUE, or as positive_value in the API."),
    N_("More than half of the rows are fraud: %(column)s = %(value)s in %(share)s. If that value means that a row is "
       "in order, name the other one."),
    N_('%(column)s has %(count)s values; "%(value)s" was learned against all others.'),
    N_('%(column)s never holds "%(value)s". Its values: %(values)s.'),
    N_("No column is left to learn from: all are constant, all distinct or left out."),
    # Scoring
    N_("%(file)s lacks %(count)s column(s) of the model: %(missing)s. Add, rename or map them."),
    N_('The model reads no column "%(column)s". It reads: %(columns)s.'),
    N_('The table has no column "%(column)s" to read as "%(name)s". Correct the mapping.'),
    N_("%(file)s does not fit the model: %(problems)s. Correct the columns."),
    # Reasons of a score, and names of features
    N_("%(name)s not seen for this customer in training"),
    N_("%(name)s known for this customer from training"),
    N_("%(name)s not seen in training"),
    N_("%(name)s seen %(count)s times in training"),
    N_("%(name)s has %(count)s rows in training"),
    N_("%(name)s %(times)s × usual"),
    N_("%(name)s %(amount)s, %(count)s deviations above usual"),
    N_("%(name)s %(amount)s, %(count)s deviations below usual"),
    N_("%(name)s %(amount)s, no usual known"),
    N_("%(time)s since the last row of this %(name)s in training"),
    N_("%(count)s days"),
    N_('%(name)s "%(value)s" rare or unseen in training'),
    N_('%(name)s "%(value)s" (%(share)s fraud in training)'),
    N_("%(name)s (%(share)s fraud in training)"),
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
    # Column and file errors
    N_("Column %(name)s holds lists or records and is left out."),
    N_("%(file)s has no plain column, only lists or records. Flatten it first."),
    N_("%(file)s unpacks to more than %(count)s times its size or 4 GiB. Split the table, or save "
       "it as Parquet."),
    N_("%(file)s unpacks to more than %(count)s times its size, as no real workbook does. Save the "
       "table as CSV."),
    N_("%(file)s unpacks to %(size)s of text, more than this reads. Leave the long texts out."),
    N_("%(file)s has a line longer than 64 MiB. Check its line ends."),
    N_("%(file)s looks like %(encoding)s text but is not throughout: %(error)s. Save it as UTF-8."),
    N_("%(file)s cannot be read to its end: %(error)s. Export it again."),
    N_("%(file)s has no sheet with a header and rows. Fill one, or pick another file."),
    N_("%(file)s is encrypted or packed in an unusual way. Save it again without."),
    N_("%(file)s needs more than %(count)s MB of memory to be read. Split it, or save it as CSV; who "
       "runs Écluse can allow more: ECLUSE_READER_MAX_BYTES."),
    N_("%(file)s took more than %(count)s s of work to be read. Split it, or save it as CSV or Parquet."),
    N_("%(file)s unpacks to more than %(count)s GB. Split it."),
    N_("%(file)s was not read: the machine ended the process that read it, as it does where memory is "
       "short. Try again later, or split the table."),
    N_("%(file)s cannot be read: the reader of such files failed on it. Save it anew, as CSV or Parquet."),
    N_("%(file)s has a sheet that lies outside of the file: %(value)s. Save the workbook with the "
       "sheet in it."),
    N_("%(file)s holds %(count)s files, as no workbook does. Save the table as CSV."),
    N_("%(file)s holds %(value)s twice, or outside of itself. Save it again."),
    N_("its files overlap"),
    N_("a file in it has no beginning"),
    N_("%(file)s declares a document type, as no real workbook does. Save the table as CSV."),
    N_("%(file)s is written in %(value)s, which is not read in a workbook. Save the table as CSV."),
    N_("%(file)s has row %(count)s after row %(number)s. Save it again, or as CSV."),
    N_("%(file)s names a cell %(value)s, which no sheet has. Save it again, or as CSV."),
    N_("The image needs more than %(count)s MB of memory to be decoded. Make it smaller."),
    N_("The image took more than %(count)s s of work to be decoded. Save it anew."),
    N_("The image was not read: the machine ended the process that decoded it, as it does where memory "
       "is short. Try again later."),
    N_("The image cannot be decoded: the decoder failed on it. Save it anew."),
    N_("%(file)s spans %(rows)s rows by %(total)s columns, more than %(count)s cells. Delete stray "
       "far cells, or save the table as CSV."),
    N_("Row %(number)s of %(file)s holds no names. Choose another row, or none (0)."),
    N_("%(file)s has no sheet %(name)s. Its sheets: %(values)s."),
    N_("Row %(value)s cannot hold the names: choose one from 1 to 2,000."),
    N_("%(file)s is being read. Wait for the end, then choose."),
    N_("%(file)s is read in one way only. Upload it again to read it otherwise."),
    N_(
        "Something was made from %(file)s as it is read now, and would mean other columns. Upload the file again "
        "to read it otherwise."
    ),
    N_('Quotes (") stand inside values only and are read as any other character.'),
    N_("has no name"),
    N_("an Excel 97-2003 workbook (.xls), or a protected one"),
    N_("a %(word)s archive"),
    N_("an %(word)s archive"),
    N_("an Arrow file"),
    N_("an SQLite database"),
    N_("an image"),
    N_("a gzip file inside a gzip file"),
    N_("an HTML page"),
    # What to check
    N_("%(columns)s: one value only, or none; it tells nothing."),
    N_("every value is different in %(rows)s rows"),
    N_("nearly every value is different in %(rows)s rows"),
    # Goals and requests
    N_('"%(value)s" is not a goal. Use f1, recall=0.8, precision=0.9, alerts=50 (alerts a day), or cost=500:10 '
       "(of a missed fraud, and of a false alarm)."),
    N_("The share of alerts that are right must be above 0 %% and at most 100 %%; it was %(value)s. Correct it."),
    N_("A cost must be a number above 0 and at most 1,000,000,000; it was %(value)s. Correct it."),
    N_("The share of fraud to find must be above 0 %% and at most 100 %%; it was %(value)s. Correct it."),
    N_("The alerts a day must be a number above 0 and at most 1,000,000; it was %(value)s. Correct it."),
    N_("A goal in alerts a day needs a time column. Name one, or choose another goal."),
    N_("A number of alerts per day needs a column of dates, and %(trouble)s. Choose another goal."),
    N_("%(column)s holds no dates"),
    N_("no time column is chosen"),
    N_("A budget of %(number)s s is out of range; use 2 s to 24 h."),
    N_("%(file)s has no column %(column)s. It has: %(columns)s."),
    N_('Scores cannot be written as "%(value)s". Use csv or parquet.'),
    N_("There are no scores to write."),
    N_("A value holds characters that cannot be stored. Remove them."),
    N_("A sample of %(rows)s rows holds too few frauds; ask for at least 500."),
    # Users
    N_("The password has more than %(count)s characters."),
    N_("No user %(value)s."),
    N_("No user %(value)s. See: ecluse users list"),
    N_("No token %(value)s."),
    N_("No account administers. Make one: ecluse users add EMAIL --admin"),
    # What does not exist
    N_("No dataset %(value)s. See your datasets: GET /api/datasets"),
    N_("No dataset of yours is stored at %(value)s. See your datasets: GET /api/datasets"),
    N_("No prediction %(value)s. See: GET /api/predictions"),
    N_("No prediction of yours is stored at %(value)s. See: GET /api/predictions"),
    N_("No training %(value)s. See: GET /api/history"),
    N_('No model "%(name)s". See: ecluse models list'),
    N_('No version %(value)s of "%(name)s". See: ecluse models show %(model)s'),
    N_('No version %(value)s of "%(name)s"; the latest is %(word)s. See: ecluse models show %(model)s'),
    N_("%(value)s is not a version; one looks like %(word)s."),
    N_("%(name)s %(value)s has no file %(file)s; it has: %(values)s."),
    N_("%(name)s has no file %(file)s. See: ecluse models show %(model)s"),
    N_("No job %(value)s. See: ecluse jobs list"),
    N_("No job has such an id. See: ecluse jobs list"),
    # How jobs end
    N_(
        "%(count)s worker processes in a row ended while they ran this job and nothing else, and none got further. "
        "It was given up. Give it less data, or the worker more memory."
    ),
    N_("The job was queued in a form that is not read. Ask for it again."),
    N_("Its worker ended again and again, and it was given up. Ask for it again."),
    N_("Reading it was stopped on request. Upload it again."),
    N_("Its job is gone. Ask for it again."),
    N_("It was stopped."),
    N_("It could not be queued: %(error)s"),
    N_("The training was cancelled, or another attempt at it has published."),
    N_("The scoring was cancelled."),
    N_("The worker stops; the next one takes the job up."),
    N_("Another worker has taken the job over."),
    N_("The job was cancelled, or another worker has taken it over."),
    N_("%(file)s was changed in the store after its upload. Upload it again."),
    N_("The table was deleted before the job ran. Upload it again."),
    N_("Waiting for the table to be read"),
    N_("Fitting the best settings on training and validation rows"),
    N_("Fitting the measured settings on all rows"),
    N_("%(model)s, variation %(number)s"),
    N_("LightGBM, shallow"),
    N_("LightGBM, extra trees"),
    N_("LightGBM, level sets"),
    N_("XGBoost, deep"),
    N_("LightGBM, plain"),
    N_("LightGBM, large"),
    N_("CatBoost, deep"),
    N_("linear model"),
    # Damaged models
    N_("Calibration of kind %(value)s is damaged or foreign. Train again."),
    N_("Column kind %(value)s does not exist; use one of %(values)s."),
    N_("%(file)s has format %(value)s; this version reads %(word)s."),
    N_("%(file)s or a table beside it is damaged: %(error)s. Train again."),
    N_('%(file)s holds an encoder "%(value)s" that this version does not know.'),
    N_("features.json and feature_selector.json do not belong together. Train again."),
    N_("model.json or features.json is damaged: %(error)s. Train again."),
    N_('Models of the family "%(value)s" cannot be read here. Known: %(values)s.'),
    N_("%(file)s cannot be read: %(error)s. Fetch the version again."),
    N_("%(file)s is not a LightGBM text model. Fetch the version again."),
    N_("%(file)s is not a linear model of ours. Fetch the version again."),
    N_("%(file)s is not an XGBoost model in UBJ. Fetch the version again."),
    N_("%(file)s is not a model's description. Fetch the version again."),
    N_("%(file)s is damaged: %(error)s. Fetch the version again."),
    N_("%(file)s is missing or damaged: %(error)s. Fetch the version again."),
    N_("%(file)s is missing or damaged: %(error)s. Train again."),
    N_("%(file)s names features that are not made: %(values)s."),
    N_("This manifest cannot be read: %(error)s. Publish the version again."),
    N_("This manifest has format %(value)s; this Écluse reads format %(word)s."),
    N_('The manifest of %(name)s says it is "%(value)s".'),
    N_("The manifest of %(name)s was replaced after it was published. Delete the version, and publish it again."),
    N_("%(file)s is neither a file nor a folder of its own. Remove it, or put the file there."),
    N_("There is no file to publish. Name at least one."),
    N_("%(file)s cannot be read: %(error)s. Nothing was published."),
    N_("%(file)s is a name of the registry's own. Rename the file."),
    N_("%(name)s is held by another publication, or was deleted or cleaned up meanwhile. Publish it again."),
    N_("These metadata cannot be kept: %(error)s. Use texts, finite numbers, lists and objects."),
    N_('"%(name)s" has no alias "%(value)s"; it has none. Set it: ecluse models alias %(model)s'),
    N_('"%(name)s" has no alias "%(value)s"; its aliases: %(values)s. Set it: ecluse models alias %(model)s'),
    N_("%(value)s names no model. Write NAME, NAME@VERSION or NAME@ALIAS."),
    N_("%(file)s does not exist."),
    N_("%(file)s and %(name)s would both be %(value)s. Rename one of them."),
    N_("%(name)s is known to be damaged since %(value)s: %(error)s Verify it: ecluse models verify %(model)s"),
    N_("Its deletion was not finished; delete it again."),
    N_('"latest" is always the newest version and cannot be set. Choose another alias.'),
    N_("%(value)s would read as a version. Choose another alias, such as production."),
    N_("%(value)s cannot be an alias: use 1 to 64 small letters, digits, dots, hyphens or underscores, "
       "beginning with a letter or digit."),
    N_("It has the alias %(value)s, which programs may ask for. Move it to another version or remove it, then "
       "delete %(name)s."),
    N_("they are nested more than %(count)s levels deep"),
    N_("a key is no text, or longer than %(count)s characters"),
    N_("a number is not finite, or too large"),
    N_("they hold more than %(count)s values"),
    N_("they are larger than %(count)s KiB"),
    N_("a text holds half a character"),
    N_("a size is no number of bytes"),
    N_("a part of it is of another kind"),
    N_("two files have one name"),
    N_("%(key)s is larger than any manifest. Publish the version again."),
    N_("%(file)s is kept as a file only: %(error)s"),
    N_("%(value)s is a link that leads out of %(file)s. Remove it, or put a copy of the file there."),
    N_("%(file)s is neither a file nor a folder. Name a file, or a folder of files."),
    # Searching, importing and signing models
    N_("%(value)s is not a condition. Write a key, one of = != > >= < <=, and a value: val_accuracy>0.9. "
       "Join several by and, or and parentheses; a value that holds such a word stands between quotes. "
       "Keys are %(values)s, and what metadata and metrics call them."),
    N_("%(value)s cannot name an application: use 1 to 16 letters, digits, dots, hyphens or underscores."),
    N_("Run %(name)s is no training of images that is done: there is nothing to repeat. "
       "See: ecluse runs list --application plants --status done"),
    N_("The split of run %(name)s is not the one that it learned from. Train anew."),
    N_("%(key)s takes a date or a time (UTC), not %(value)s. Write %(word)s or %(file)s"),
    N_("This condition is too long: a key has at most %(count)s characters and %(number)s parts between dots, "
       "a value at most %(total)s characters. Shorten it, such as val_accuracy>0.9"),
    N_("%(count)s conditions are too many: a search takes at most %(number)s. Leave some out."),
    N_("%(file)s holds no folder. Each folder in it is to be one model."),
    N_(
        "%(file)s holds types that no one has trusted: %(values)s. If you trust its maker, import the pickle it came "
        "from as an administrator: ecluse models import DIR --trust"
    ),
    N_("%(file)s is no .skops that can be read. Fetch the version again."),
    N_(
        "Only administrators trust pickles, as reading one runs what it says. Leave out --trust, or ask one of yours."
    ),
    N_("%(file)s is not JSON and is kept as a file only: %(error)s"),
    N_("%(file)s could not be converted and is stored unread: %(error)s"),
    N_("reading it took more than %(count)s s"),
    N_("the process that read it ended with code %(value)s"),
    N_("Only administrators import reference models. Leave out --prefix, or ask one of yours."),
    N_("%(value)s belongs to users. Choose another prefix, such as automl_models/."),
    N_("%(value)s is one that a store keeps for itself. Choose another prefix, such as automl_models/."),
    N_("%(name)s has no signature. Sign it: ecluse models sign %(model)s --key FILE"),
    N_("The signature of %(name)s is not one of these files by this key: %(error)s. Do not use the version before "
       "you know why."),
    N_("Signatures need model-signing: pip install 'ecluse[signing]'"),
    N_("%(file)s cannot be used as a key: %(error)s. Use an elliptic-curve key in PEM (P-256, P-384 or P-521)."),
    N_("%(file)s is missing from %(name)s. Publish the model again."),
    N_("%(file)s is missing from %(name)s. Publish the model again, or use another version."),
    N_("%(file)s is damaged: its SHA-256 is %(value)s…, %(word)s… was recorded. Make or publish it "
       "again."),
    # Documents
    N_("There is no document %(name)s. See those there are: ecluse documents list %(word)s"),
    N_("The documents in %(value)s do not answer: %(error)s. See: ecluse doctor"),
    N_("The connection to the documents was lost. Try again."),
    N_("%(value)s has no table of documents. Make it: ecluse documents create"),
    N_("There is no database %(value)s. Make it: ecluse documents create"),
    N_("The documents in %(value)s were never made. Make them: ecluse documents create"),
    N_("The DynamoDB tables %(value)s are not both there. Make them: ecluse documents create"),
    N_("The DynamoDB table %(value)s is still being made. Try again later: ecluse documents create"),
    N_("The DynamoDB table %(value)s has other keys than kind and key. Name another in DYNAMODB_METRICS_TABLE or "
       "DYNAMODB_REPORTS_TABLE, and make it: ecluse documents create"),
    N_("DynamoDB at %(value)s does not answer: %(error)s. See: ecluse doctor"),
    N_("DynamoDB could not do what was asked of %(value)s (%(word)s): %(error)s. See: ecluse doctor"),
    N_("DynamoDB refuses what was asked of %(value)s (%(word)s). Check the credentials, and that they may read "
       "and write these tables."),
    N_("DynamoDB takes no more requests for %(value)s at this rate. Try again later, or raise the table's limits."),
    N_("There are no AWS credentials for DynamoDB. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this "
       "machine a role; a DynamoDB of your own takes any."),
    N_("%(value)s refuses what was asked of it: the name or the password is wrong, or may not do this. Give the "
       "user of MONGODB_URL the role readWrite on the database."),
    N_("The address of %(value)s cannot be used (%(word)s). Check the options of MONGODB_URL and, in its "
       "password, write @ as %%40, : as %%3A, / as %%2F and %% as %%25."),
    N_("Documents in %(value)s need %(word)s, which is not installed. Install it: pip install 'ecluse[%(name)s]'"),
    N_("The document %(name)s is of the type %(word)s. Give an object: a dict."),
    N_("The document %(name)s is too large: %(what)s, where %(count)s fit into every database. Shorten its lists,"
       " or split it over several keys."),
    N_("%(count)s bytes of JSON"),
    N_("%(count)s bytes as DynamoDB counts them"),
    N_("%(value)s is no kind of documents. A kind is names of small letters, digits and _ . : - joined by "
       "slashes, %(count)s characters at most: metrics/zones."),
    N_("%(value)s is no key of a document. A key is text of 1 to %(count)s bytes in UTF-8, without control "
       "characters: 2025-10-14."),
    N_("In the document %(name)s, %(part)s %(reason)s"),
    N_("the body"),
    N_("is of the type %(word)s, which is not JSON. Give text, a number, true, false, null, a list or an object."),
    N_("has the name %(name)s, which is not text. Write names as text."),
    N_("has the name %(name)s, which not every database keeps. A name is not empty, does not begin with $ and "
       "holds no dot and no NUL."),
    N_("lies deeper than %(count)s levels. Put fewer lists and objects into one another."),
    N_("holds a NUL or half of a character. Remove it, or keep bytes in the object store."),
    N_("is beyond 2^53, where numbers lose digits. Write it as text."),
    N_("is %(value)s, which is no number. What is missing is null."),
    N_("is %(value)s, outside %(number)s to %(total)s. Choose another unit, or write 0."),
    # Parts of the service that do not answer
    N_("The jobs of an older Écluse cannot be read. %(reason)s"),
    N_(
        "%(file)s is not a SQLite database: it holds something else. Stop Écluse, move the file away and put a "
        "copy from a backup in its place; without one, what is still readable comes out with: sqlite3 %(value)s "
        ".recover | sqlite3 mended.db."
    ),
    N_(
        "%(file)s is damaged (%(error)s). Stop Écluse, move the file away and put a copy from a backup in its "
        "place; without one, what is still readable comes out with: sqlite3 %(value)s .recover | sqlite3 "
        "mended.db."
    ),
    N_(
        "%(file)s is a folder, and the database is to be a file. Move the folder away, or choose another folder "
        "for everything local: ECLUSE_HOME=/another/folder, or --home."
    ),
    N_(
        "There is no folder %(file)s. Make it, or choose another folder for everything local: "
        "ECLUSE_HOME=/another/folder, or --home."
    ),
    N_(
        "%(file)s may be read by others on this machine (mode %(value)s) and belongs to another user, so that it "
        "cannot be narrowed here: the catalog and keys in it would be open to them. Let its owner narrow it (chmod 700 "
        "%(name)s), set ECLUSE_HOME_SHARED=true if its group is to share it, or choose another folder for everything "
        "local: ECLUSE_HOME=/another/folder, or --home."
    ),
    N_(
        "%(file)s cannot be a folder: %(value)s is a file. Move it away, or choose another folder for everything "
        "local: ECLUSE_HOME=/another/folder, or --home."
    ),
    N_(
        "%(file)s cannot be used as a folder: %(error)s. Make it, or choose another folder for everything local: "
        "ECLUSE_HOME=/another/folder, or --home."
    ),
    N_("Another process has kept %(file)s locked for half a minute. Try again, or end that process."),
    N_("%(file)s is on a disk that can only be read. Mount it for writing, or choose another folder for everything "
       "local: ECLUSE_HOME=/another/folder, or --home."),
    N_("%(file)s may not be read or written by the user that runs Écluse (%(name)s). Give it to that user (chown -R), "
       "or choose another folder for everything local: ECLUSE_HOME=/another/folder, or --home."),
    N_("The disk that holds %(file)s is full: %(number)s MB free. Free some room (ecluse cache clear empties the "
       "cache), then try again; nothing was kept half."),
    N_("A disk of this machine is full; ecluse doctor says which. Free some room (ecluse cache clear empties the "
       "cache), then try again; nothing was kept half."),
    N_("The disk that holds %(file)s takes no more files: its inodes are used up. Remove some files (ecluse cache "
       "clear empties the cache), then try again; nothing was kept half."),
    N_("The user that runs Écluse (%(name)s) may keep no more on the disk that holds %(file)s. Raise the quota, or "
       "free some room (ecluse cache clear empties the cache), then try again; nothing was kept half."),
    N_("%(file)s would be larger than a file may be here (see: ulimit -f). Raise that limit."),
    N_("The disk that holds %(file)s fails to read or write. Copy what it holds elsewhere, or choose another folder "
       "for everything local: ECLUSE_HOME=/another/folder, or --home."),
    N_("Too many files are open in this process (see: ulimit -n). Raise that limit."),
    N_("Too many files are open on this machine. End what holds them open, then try again."),
    N_("The object store does not answer. Nothing was recorded; try again in a minute."),
    N_("The catalog does not answer. Nothing was recorded; try again in a minute."),
    N_("The job engine does not answer. Nothing was recorded; try again in a minute."),
    N_("The database of the documents does not answer. Nothing was recorded; try again in a minute."),
    N_("The catalog is damaged, so nothing can be shown or recorded. Whoever runs this Écluse reads which file it is, "
       "and the way out, with: ecluse doctor"),
    N_("A disk of this Écluse is full, or can only be read. Nothing was recorded. Whoever runs it reads which, and "
       "the way out, with: ecluse doctor"),
    N_("%(value)s is on a disk that can only be read: %(key)s was not stored. Mount it for writing, or name another "
       "store: ECLUSE_STORE_URL=file:///another/folder"),
    N_("The catalog %(value)s does not answer: %(error)s. See: ecluse doctor"),
    N_("The catalog cannot be used. %(reason)s"),
    N_("The documents cannot be used. %(reason)s"),
    N_("All connections of this process to the catalog are in use. Try again in a minute."),
    N_("All connections of this process to the documents are in use. Try again in a minute."),
    N_("The disk of the PostgreSQL server is full. Free some room there, then try again."),
    N_("The PostgreSQL server can only be read: it is a standby, or set so. Name the primary in DATABASE_URL."),
    N_("The PostgreSQL server has no connection left. Try again, or raise its max_connections."),
    N_("Another transaction has kept what this needs locked for too long. Try again."),
    N_("PostgreSQL took longer than this may take, and was stopped. Try again when less is asked of it."),
    N_("The connection to the catalog was lost. Try again."),
    N_("The catalog is at version %(value)s, newer than this Écluse (%(word)s). Install a newer one."),
    N_("Nothing is stored at %(key)s in %(store)s."),
    N_("%(file)s is damaged: it is shorter than the %(count)s bytes that were recorded. Make or publish it again."),
    N_("%(file)s is damaged: it is longer than the %(count)s bytes that were recorded. Make or publish it again."),
    N_("%(value)s is no SHA-256 digest in hexadecimal. Publish the version again."),
    N_("The disk that holds %(file)s has no room for %(count)s bytes, %(number)s are free. Free some, or clear the "
       "cache: ecluse cache clear"),
    N_("%(key)s is already stored in %(store)s."),
    N_("%(url)s is not the address of an object."),
    N_("The store %(store)s refused access. Check that its bucket exists, and the keys and their rights: "
       "ecluse doctor"),
    N_("The store %(store)s refused access to %(key)s. Check keys and rights: ecluse doctor"),
    N_("The store %(store)s did not answer as it should for %(key)s: %(error)s. See: ecluse doctor"),
    N_("Objects in memory have no signed addresses. Use an object store (s3://, gs:// or az://)."),
    N_("%(store)s is used without keys (S3_ANONYMOUS), and keys make the signature. Set an access key."),
    N_("it has fallen silent"),
    N_("the connection was refused"),
    N_("its name was not found"),
    N_("its certificate was not accepted"),
    N_("no answer came in time"),
    N_("the connection broke"),
    N_("the connection failed"),
    N_("it answered %(value)s"),
    N_("The attributes of %(key)s in %(store)s are damaged. Store it again."),
    N_("%(store)s is a folder, and a folder has no signed addresses. Download through Écluse, or keep the "
       "objects in an object store (s3://, gs:// or az://)."),
    N_("Key %(key)s is one that a folder keeps for itself. Choose another name."),
    N_("Key %(key)s is one that a store keeps for itself. Choose another name."),
    N_("The file system of %(store)s has no hard links, so two writers could take the same version. Use a "
       "folder on another file system, or an object store."),
    N_("The folder %(store)s is gone. Mount its disk again. If it is to be empty, make it: mkdir -p %(file)s"),
    N_("%(key)s cannot be stored in %(store)s: in a folder, a name is an object or holds objects, not both. "
       "Choose another name."),
    N_("Key %(key)s leads through a link in %(store)s, and a store follows none."),
    N_("%(key)s was not stored in %(store)s: %(error)s"),
    N_("The folder %(store)s refused access to %(key)s: %(error)s. Give the user that runs Écluse the right "
       "to read and write there."),
    N_("The folder %(store)s did not answer as it should for %(key)s: %(error)s. See: ecluse doctor"),
    N_("%(key)s arrived in %(store)s with %(count)s of %(number)s bytes and was removed. Send it again."),
    N_("%(key)s in %(store)s was replaced while it was read. Read it again."),
    N_("The store %(store)s has no such bucket. Make it: ecluse servers prepare"),
    N_("No keys are set for the store %(store)s, and this machine has none of its own. Set "
       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or S3_ANONYMOUS=true where no keys are needed."),
    N_("The store %(store)s does not accept the keys: %(value)s. Check the access key and the secret key: "
       "ecluse doctor"),
    N_("The store %(store)s says the clock of this machine is wrong: %(value)s. Set the clock, then try again."),
    N_("The store %(store)s does not answer: %(word)s of %(key)s was tried for %(time)s, and %(error)s. "
       "Check that it runs and can be reached: ecluse doctor"),
    N_("A signed address lasts from 1 second to 7 days. Choose a time in between."),
    N_("The store %(store)s lets two create-only writers of one key both win, so two publications could "
       "take the same version. Use a store with conditional writes (If-None-Match), or a newer release of this one."),
    N_("%(name)s cannot name an attribute: use small letters and digits, beginning with a letter."),
    N_("The attribute %(name)s holds what not every store can keep: use 1 to 1024 ASCII characters, without "
       "blanks at the ends."),
    N_("%(store)s has an address that can only be signed with the account's key. Set AZURE_STORAGE_KEY."),
    N_("The container of %(store)s cannot be made without the account's key. Make it with Azure's own tool: "
       "az storage container create --name %(name)s --account-name %(word)s"),
    N_("The bucket of %(store)s cannot be made from here. Make it with Google's own tool: gcloud storage "
       "buckets create %(name)s"),
    N_("%(key)s in %(store)s is an object and holds objects, which a folder cannot have. Download them one "
       "by one, under names of your own."),
    N_("A key is empty."),
    N_("Key %(key)s… is longer than %(count)s bytes."),
    N_("Key %(key)s has a part longer than %(count)s bytes."),
    N_("Key %(key)s holds a control or invisible character."),
    N_("Key %(key)s has a part that is empty, . or .., or holds a slash in disguise."),
    # Migrations
    N_("No migration %(value)s. See: ecluse migrate list"),
    N_("Another process is at work on migration %(value)s: %(what)s. Wait for it, or stop it first."),
    N_("Migration %(value)s is at work on some of the same objects: %(what)s. Wait for it, or stop it first. See: "
       "ecluse migrate list"),
    N_("Everything here is being moved to %(value)s. Until that has ended it can be read here and not changed. "
       "Nothing was recorded; try again later."),
    N_("Everything here is being moved to another place. Until that has ended it can be read here and not changed. "
       "Nothing was recorded; try again later."),
    N_("Everything here moved on %(day)s to %(value)s. It can be read here and is changed there. "
       "Where it is, and how it comes back: ecluse move list"),
    N_("Everything here moved on %(day)s to another place. It can be read here and is changed there. "
       "Where it is, and how it comes back: ecluse move list"),
    N_("Everything is being moved here and has not arrived whole. Wait, or go on: ecluse move run"),
    N_("A move to this place is being undone. Go on with it: ecluse move rollback"),
    N_("Migration %(value)s is a part of a move of the whole home, and goes on or back with it: ecluse move list"),
    N_("Another process took migration %(value)s over. Follow it: ecluse migrate list"),
    N_("process %(value)s on %(name)s (%(word)s)"),
    N_("Migration %(value)s was rolled back and does not run again. Plan a new one: ecluse migrate plan"),
    N_("%(value)s is no store; use an address such as s3://bucket/prefix or file:///folder, or one of "
       "%(values)s."),
    N_("An address of a store carries no keys and no query. Put keys into the settings of its provider."),
    N_("%(store)s is no folder of an area. Any other folder of the server is for its terminal: ecluse migrate plan"),
    N_("%(store)s and %(name)s share a part. Choose a destination outside the source."),
    N_("Migration %(value)s stopped: %(error)s What is done is kept. %(onward)s"),
    N_("Go on: ecluse migrate %(word)s %(value)s"),
    N_("Go on: ecluse move %(word)s"),
    N_("A fault of ours stopped this. %(onward)s"),
    N_("It was interrupted. %(onward)s"),
    N_("It was stopped on request."),
    N_("%(count)s object(s) cannot be put to %(store)s, because another content, or a name that cannot "
       "be kept, is in the way: %(values)s. %(done_so_far)s Remove or rename these there, or plan with "
       "another destination; then: ecluse migrate run %(value)s"),
    N_("Nothing was copied."),
    N_("What was copied is kept."),
    N_("%(count)s object(s) at %(store)s are damaged, not what was recorded of them: %(values)s. Make "
       "or upload them again, or delete what they belong to."),
    N_("%(key)s reads back differently from %(store)s than it was written; it was removed there. Check "
       "the disks of that store."),
    N_("Stores of scheme %(value)s are not known; an address starts with one of %(values)s."),
    N_("Store address %(value)s is not an absolute folder; use file:///folder."),
    N_("Store address %(value)s names no bucket; use %(word)s."),
    N_("Store address %(value)s needs an account: set AZURE_STORAGE_ACCOUNT."),
    N_("Waiting for the process that was at work on it"),
    N_("Migration %(value)s has a job already. Follow it: ecluse jobs show %(word)s"),
    N_("Its process ended. %(onward)s"),
    N_("%(count)s object(s) were looked for at the destination. Found: %(findings)s. %(onward)s"),
    N_("%(count)s missing (%(values)s)"),
    N_("%(count)s different (%(values)s)"),
    N_("%(count)s that nothing points at (%(values)s)"),
    N_("Copy again what is missing: ecluse migrate run %(value)s"),
    N_("Look into these before you rely on the destination."),
    N_("The migration is unfinished: %(count)s of %(total)s object(s) are done. Go on: ecluse migrate run "
       "%(value)s"),
    N_("A run or a rollback of migration %(value)s is at work. Verify it once that has ended: "
       "ecluse migrate verify %(word)s"),
    N_("Nothing lies at %(store)s. Check the address, and that its disk is mounted."),
    N_("Nothing of what was planned lies at %(store)s any more. Check that its disk is mounted."),
    # More reasons of a score, and names of features
    N_("%(name)s %(number)s"),
    N_("%(name)s %(time)s after %(column)s"),
    N_("%(name)s %(time)s before %(column)s"),
    N_("%(name)s: characters %(number)s"),
    N_("%(name)s: words %(number)s"),
    N_("%(name)s: digit share %(number)s"),
    N_("%(name)s: weekday %(number)s"),
    N_("%(name)s: characters"),
    N_("%(name)s: words"),
    N_("%(name)s: digit share"),
    N_("The table"),
    N_("%(name)s (near: %(value)s)"),
    N_("%(columns)s and %(count)s more: one value only, or none; it tells nothing."),
    N_("%(file)s lacks %(count)s column(s) of the model: %(missing)s and %(number)s more. Add, rename or map them."),
    # Prices of storage
    N_("A quantity to estimate the cost of was %(number)s; use 0 or more."),
    N_("List prices without tax, at the rate of the first volume tier. Those of Cloudflare R2 are from the "
       "provider's own documentation, the others were gathered at second hand and may have changed: "
       "look at the provider's page before you decide. A gigabyte is 2³⁰ bytes where the provider bills so, else 10⁹."),
    N_("The free egress is shared by everything in the account."),
    N_("The free share holds in three regions of the United States."),
    N_("Approximate: the price differs between regions by a sixth and more."),
    N_("The bill rounds each quantity up to a whole gigabyte or million."),
    N_("One service mounts a volume; the plan's own credit is left out."),
    N_("Storage alone: the instance, a standby and backups come on top, and a value holds at most 1 GB."),
    N_("A new image for each new model; images that share no layers are stored once each."),
    N_('"%(value)s" is not a quantity. Use a number from 0 to %(number)s.'),
    # Rights
    N_("Only administrators can see this. Ask one of yours."),
    # Folds and blends (fraud)
    N_("%(file)s is not a blend of ours. Fetch the version again."),
    N_("%(file)s names members it cannot have. Fetch the version again."),
    N_("%(file)s is not a CatBoost model. Fetch the version again."),
    N_("A test share of %(value)s is not between 0 and %(number)s."),
    N_("By time: the earliest rows train, the latest validate; all are learned from."),
    N_("Choosing the blend"),
    N_("Calibrating on the rows held out"),
    # Goals, warnings and finishing early (fraud)
    # Matching columns
    N_("same name"),
    N_("same distribution"),
    N_("the only date left"),
    N_("corrected by you"),
    N_("both say %(word)s"),
    N_("%(word)s is close to %(name)s"),
    N_("related words alone: %(word)s, %(name)s"),
    N_("%(word)s = %(name)s (French)"),
    N_("%(word)s = %(name)s (abbreviation)"),
    N_("%(word)s = %(name)s (same meaning)"),
    N_("%(name)s means the same"),
    N_("The library holds no reference."),
    N_("No column of this table is like one of a reference."),
    N_("%(name)s has one column in common, which is too little."),
    N_("No reference is near enough: the nearest, %(name)s, reaches %(share)s of the %(number)s that a match "
       "needs."),
    N_("A sketch has %(count)s quantiles or none; column %(column)s has %(number)s. Sketch the table again."),
    # Reference library
    N_('No reference model "%(name)s". See: ecluse fraud references list'),
    N_("No simulated domain is called %(name)s. There are: %(names)s."),
    N_("A budget of %(number)s s is out of range for a reference; use 2 s to 1 h."),
    N_("A column is called %(name)s, which is the sample's own. Rename it."),
    N_("There is no reference to measure: only one built from a table can be. "
       "Build some: ecluse fraud references demo"),
    N_("%(name)s was replaced or removed while it was measured."),
    N_("No simulated institution is called %(name)s. Name a domain (%(names)s) or one of its institutions."),
    N_("Only administrators change the library of reference models. Ask one of yours."),
    N_("%(file)s is still being read. Try again once it is."),
    N_("%(file)s was read before tables could be matched. Delete it and upload it again."),
    N_("it has format %(number)s; this Écluse reads %(other)s"),
    N_("a sketch has no name, or no importance"),
    N_("%(file)s cannot be read, so no table is matched with this reference: %(error)s"),
    # Ensembles without labels
    N_("No column is left to compare rows by: all are constant, identifiers or left out. "
       "Give a table with more columns."),
    N_("%(file)s or %(word)s is missing or damaged: %(error)s. Fetch the version again."),
    N_("%(name)s missing, as in %(share)s of the rows"),
    N_('%(name)s "%(value)s" is rare'),
    N_("%(name)s: %(day)s, an unusual day"),
    N_("%(name)s: hour %(hour)s, as in %(share)s of the rows"),
    N_("%(name)s: day %(number)s, as in %(share)s of the rows"),
    N_("time from %(column)s to %(name)s longer than all but %(share)s of the rows"),
    N_("time from %(column)s to %(name)s shorter than all but %(share)s of the rows"),
    N_("%(name)s longer than all but %(share)s of the rows"),
    N_("%(name)s shorter than all but %(share)s of the rows"),
    N_("%(name)s %(amount)s, higher than all but %(share)s of the rows"),
    N_("%(name)s %(amount)s, lower than all but %(share)s of the rows"),
    N_("A fraud rate of %(number)s is out of range; use %(count)s to %(total)s, such as 0.01."),
    N_("Learning what is usual"),
    N_("Calibrating on the sample"),
    N_("Applying %(name)s"),
    N_("%(file)s is no ensemble that this version reads. Make the ensemble again."),
    N_("No reference matches this table: rows are ranked by how unusual they are, not by fraud."),
    N_("%(error)s Rows are ranked by how unusual they are, not by fraud."),
    N_("No reference was chosen to judge this table."),
    N_("Nothing was measured on this table: it has no labels. Label some rows to learn how good it is."),
    N_("%(name)s misses columns with %(share)s of what it looks at; its scores are less sure."),
    N_("Too many rows share the highest score to choose among them: no row is flagged."),
    N_("None of %(values)s means the same as this table."),
    N_("\"%(value)s\" cannot stand for two columns of %(name)s. Correct the mapping."),
    N_("%(values)s would miss too much of what it looks at in this table."),
    N_("An ensemble reads the columns of the table it was made for. Make an ensemble for this table."),
    # Matching on a page
    N_("The form did not arrive whole. Load the page again and send it once more."),
    N_('"%(name)s" and "%(column)s" cannot both stand for "%(word)s". Choose one of them.'),
    N_("The stated fraud rate must be from %(low)s to %(high)s; it was %(value)s. Correct it."),
    # Few labels
    N_("%(count)s questions are out of range; ask %(least)s to %(most)s."),
    N_("%(done)s of %(count)s labels are fraud; at least %(least)s of each kind are needed to learn. "
       "Label more rows."),
    N_("%(done)s of %(count)s labels are fraud: too few of one kind to say much. Label more rows."),
    N_("%(count)s labels are of rows that were not asked about; these figures do not count them."),
    N_("Some ranges of score have too few answers yet: what holds for all rows cannot be said."),
    N_("Row %(row)s has two labels that contradict each other. Leave one of them."),
    N_("%(count)s references are more than %(most)s, which may be named for a table. Name fewer."),
    N_("No row that was asked about has an answer yet."),
    N_("Measured on %(count)s labels only: figures are rough, and lists show none."),
    N_("%(count)s labels are more than %(most)s, which are kept of a table. Add them as a column and "
       "train a model."),
    N_("%(file)s needs the columns row and label. Its columns: %(columns)s."),
    N_('"%(value)s" is no label. Use 1 or fraud, 0 or legitimate.'),
    N_('"%(value)s" is no number of a row; rows count from 1.'),
    N_("%(file)s has not been read yet. Wait until it is."),
    N_("%(file)s has no row %(number)s; its rows are 1 to %(count)s."),
    N_('A fraud rate of "%(value)s" is no number. Write per cent, such as 1, or nothing.'),
    N_("Learning from the labels"),
    N_("Scoring the table with what was learned"),
    # Watching models
    N_("No inspection %(value)s. See: GET /api/models/NAME/VERSION/monitor"),
    N_("%(file)s holds too few frauds to keep some for a comparison. Label more rows."),
    N_("Keeping rows for the comparison"),
    N_("The table of the old version is gone: rows that it learned from may be among those compared."),
    N_("The old version learned from every row that was kept for the comparison. Use later rows."),
    N_("%(who)s learned from %(count)s of these %(total)s rows: no figure counts them."),
    N_("%(who)s learned from a table that is gone: rows of it may be among these."),
    N_("This version"),
    N_("The new version learned from %(count)s frauds alone, the old one from %(total)s. "
       "Train on one table that holds the rows of both."),
    N_('%(file)s gives two outcomes for one "%(column)s". Keep one row of each.'),
    N_("The model predicts no column: name that of the outcomes (label). Theirs: %(columns)s."),
    N_('"%(column)s" of %(file)s holds %(values)s: none says fraud or legitimate. '
       "Write 1 or fraud, 0 or legitimate."),
    N_('The outcomes need the columns "%(column)s" and "%(value)s". Theirs: %(columns)s.'),
    N_("This version keeps no sketch of its training rows: drift is not measured. Train it again."),
    N_("Columns of the model are missing: the rows are not scored."),
    N_("Both are %(model)s. Name two versions."),
    N_("%(model)s was not trained on a labelled table, so there is no plan to train it by again."),
    N_("No identifier of %(file)s is a column of %(value)s. Name the column of both: identifier"),
    N_("%(model)s scores no rows, so there is nothing to watch. See: GET /api/models"),
    # Raw files of a city, and why records of them were set aside
    N_('%(file)s has neither "hourly" nor "daily", so it is no export of Open-Meteo. Fetch it again.'),
    N_("%(file)s, line %(number)s, column 1: a table of Open-Meteo begins with 'time', not %(value)s."),
    N_("%(file)s, line 1: there is no table in it. Fetch it again."),
    N_("%(file)s, line %(number)s, column %(column)s: there are %(some)s cells, and the header names %(count)s."),
    N_("%(file)s, line %(number)s, column %(column)s: no whole JSON: %(error)s. Fetch it again."),
    N_("%(file)s is no UTF-8 text: %(error)s. Fetch it again."),
    N_("%(file)s is nested too deeply to be read."),
    N_("%(file)s, line 1: there is no column %(column)s, so it is no table of sites. It has %(columns)s."),
    N_("%(file)s, line 1: there is no column %(column)s, so it is no table of bike counts. It has %(columns)s."),
    N_("%(file)s is no whole gzip file: %(error)s. Fetch it again."),
    N_("%(file)s, line %(number)s: it cannot be read as CSV: %(error)s. Fetch it again."),
    N_("%(file)s, line 1: it cannot be read as a table: %(error)s"),
    N_("%(file)s is no Parquet file: %(error)s. Fetch it again."),
    N_("%(file)s has %(count)s bytes; a file of a feed is far smaller."),
    N_("%(file)s unpacks to more than %(count)s bytes."),
    N_("the file is broken"),
    N_("the file holds no such records"),
    N_("the record is no object"),
    N_("no counter"),
    N_("no count"),
    N_("the count is no number of bikes"),
    N_("the time cannot be read"),
    N_("the time is not on the hour"),
    N_("no identifier"),
    N_("no period"),
    N_("a time cannot be read"),
    N_("the period ends before it begins"),
    N_("the date cannot be read"),
    N_("the value is not possible"),
    N_("the unit is not known"),
    N_("the file does not say its units, and they are not °C, mm and km/h"),
    N_("no first and last day"),
    N_("a date cannot be read"),
    N_("the last day is before the first"),
    N_("the polygon cannot be read"),
    N_("the record has more cells than the header"),
    N_("%(file)s, line 1, column %(column)s: it is missing, so this is no file of road counts. Fetch it again."),
    N_("%(file)s, column %(column)s: it is missing, so this is no file of road counts. Fetch it again."),
    N_("%(file)s, line 1, column %(column)s: it is there twice. Fetch the file again."),
    N_("%(file)s, column %(column)s: it is there twice. Fetch the file again."),
    N_("an object with %(names)s"),
    N_("%(file)s, column %(column)s: its type is %(value)s; it has to be text or moments with a time zone."),
    N_("%(file)s, line %(number)s, column %(column)s: %(reason)s (%(value)s), and no record of "
       "the file is good. Fetch it again."),
    N_("%(file)s, line %(number)s: %(reason)s (%(value)s), and no record of the file is good. Fetch it again."),
    N_("%(file)s, line 1: there is no column %(column)s (or %(other)s), so this is no reference "
       "of arcs. Fetch it again."),
    N_('%(file)s has no "features": this is no GeoJSON of zones. Fetch it again.'),
    N_("%(file)s is gone. Run it again."),
    N_("the arc is no number"),
    N_("the flow is not possible"),
    N_("the occupancy is not possible"),
    N_("the state is not known"),
    N_("the state of the arc is not known"),
    N_("the record is too short"),
    N_("the quotes are not closed"),
    N_("the record is too long"),
    N_("the shape is no line"),
    N_("the number of the zone cannot be read"),
    N_("%(file)s holds what cannot be read: %(error)s. Fetch it again."),
    # Images that are imported
    N_("%(done)s files, %(number)s rejected"),
    N_("It is in no folder, and so has no label. Name one for such files: --label"),
    N_("The file is empty."),
    N_("It is an archive within what is imported. Import it by itself."),
    N_("The set of images was removed while images were imported into it."),
    N_("The file has %(count)s bytes; %(total)s are the most. Make the image smaller."),
    N_("The file has more than %(count)s bytes. Make the image smaller."),
    N_("The image says it has more than %(count)s pixels, which are the most."),
    N_("The file is not a JPEG, PNG or WebP image."),
    N_("The image is damaged: %(error)s."),
    N_("The image is damaged: bytes are missing before its end."),
    N_("The JPEG has more than %(scans)s passes or %(count)s segments, as no camera writes. Save it anew."),
    N_("The image has %(width)s × %(height)s pixels; %(count)s are the most. Make it smaller."),
    N_("The image has %(width)s × %(height)s pixels; each side needs at least %(least)s."),
    N_("%(file)s is no .zip, .tar or .tar.gz archive. Pack the images as one of these."),
    N_("%(file)s is a damaged archive: %(error)s. Pack it again."),
    N_("It is a link, which is not followed."),
    N_("It is locked with a password."),
    N_("It cannot be unpacked: %(error)s."),
    N_("It is no plain file."),
    N_("It ends early."),
    N_("a header of it is too large"),
    N_("a header of it cannot be understood"),
    N_("Its path has %(count)s characters; %(most)s are the most."),
    N_("%(file)s is refused: %(reason)s"),
    N_("Its name leads out of the archive."),
    N_("%(file)s holds more than %(count)s files. Import it in parts."),
    N_("%(file)s unpacks to more than %(count)s GB. Import it in parts."),
    N_("It unpacks to %(count)s times its size; an image does to %(total)s times at most."),
    N_("%(file)s has more than %(count)s files. Import its folders one by one."),
    N_("%(file)s cannot be read: %(error)s."),
    N_("It is a link that leads out of the folder."),
    N_("It is a link to no file."),
    N_("The file cannot be read: %(error)s."),
    N_("%(file)s has more than %(count)s bytes. Import it in parts."),
    N_("%(file)s names no addresses. Write one on each line, and its label after it."),
    N_("%(file)s names more than %(count)s addresses. Import it in parts."),
    N_("%(file)s has no column url. Name the columns url and label."),
    N_("%(file)s is no text. Save it as UTF-8."),
    N_("%(file)s is no CSV: %(error)s."),
    N_("More than %(count)s files lie there. Import the folders one by one."),
    N_("Nothing lies at %(store)s. Check the address."),
    N_("It was removed or replaced while it was read. Import it again."),
    N_("%(store)s holds what users have stored. Name a folder of your own, or one that is none of theirs."),
    N_(
        "%(store)s is none of the places that you may import images from. Upload the images, or ask an "
        "administrator, who can import them or list the place in ECLUSE_IMPORT_FROM."
    ),
    N_("%(store)s names no bucket and no folder. Write it as s3://bucket/prefix."),
    N_(
        "%(store)s is in no store of this server. Upload the images, or import them at its terminal: "
        "ecluse plants import"
    ),
    N_("It could not be fetched: %(reason)s."),
    N_("It could not be fetched in %(number)s s."),
    N_("%(key)s answers %(number)s"),
    N_("%(key)s does not answer"),
    N_("the answer ended early"),
    N_("more than %(count)s redirects"),
    N_("there is no host %(key)s"),
    N_("the certificate of %(key)s cannot be trusted"),
    N_("https sends on to an address without encryption"),
    N_("the answer is packed, which was not asked for"),
    N_("It is no address of the web: %(reason)s."),
    N_("it begins with https:// or http://"),
    N_("it holds blanks or control characters"),
    N_("The address carries a name or a password; give it without."),
    N_("%(key)s is on a private network, which is not asked for images."),
    N_("There are no images yet. Import some: ecluse plants import DIR, or ecluse plants demo"),
    N_("Images are being imported into %(name)s. Cancel that first, or wait."),
    N_("%(value)s cannot be a label: use 1 to %(count)s characters, none of them a slash."),
    N_("%(value)s cannot be the name of a set: use 1 to %(count)s characters, none of them a slash."),
    N_("No set of images %(name)s. See: ecluse plants sets"),
    N_("No image %(name)s. See: ecluse plants show SET"),
    N_("No split %(name)s. See: ecluse plants show SET"),
    N_("%(name)s names several images of the set. Use their ids."),
    N_("The set has no image %(name)s. See: ecluse plants show SET"),
    # Runs
    N_("A metric's step is a whole number from 0, not %(value)s."),
    N_(
        "%(name)s cannot name a parameter, tag or metric. Use up to 80 letters, digits, dots, hyphens and "
        "underscores."
    ),
    N_("%(name)s is %(what)s; a parameter or tag is text, a number or a truth value."),
    N_("The metric %(name)s is %(value)s, which is no number. Keep it as a tag."),
    N_("No run %(name)s. See: ecluse runs list"),
    N_("%(count)s runs cannot be compared. Name 1 to %(most)s."),
    N_("%(value)s is no condition. Write a name and a value: seed=0"),
)  # fmt: skip

"""Host applications that are written in one file: install them, run their functions in processes of their own,
serve them.

What a person wrote is described once, when it is installed (`snapshot`). Menus, forms, commands and the API are made of
that description alone (`value`, `api`, `pages`, `commands`). Its functions run in processes (`child`) that have
none of our keys in their environment and a bound of memory: a job has one for itself (`working`), and all
predictions of an application share one in each web process (`answering`).
"""

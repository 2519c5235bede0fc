"""`masquerade studio`: a local page on which people look at videos, mend and anonymize them.

`server` is the HTTP side and `guard` keeps others out of it. A `video_session` is one video: its
pictures (`copying`), what was found in it (`scans`), what was decided (`history`), and frames of
the result (`preview`). Whole videos are done by `jobs`, in a process each (`job_process`).
"""

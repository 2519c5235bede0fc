// Requests to the studio's server: one way to ask, one kind of error, and whether it still answers.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0: no answer at all
  }
}

export const isAbort = (error) => error?.name === "AbortError";

// Told of lost and regained connections, and of 401; set once by app.js.
export const watch = { lost() {}, answered() {}, refused() {} };

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api${path}`, { credentials: "same-origin", ...options });
  } catch (error) {
    if (isAbort(error)) throw error;
    watch.lost();
    throw new ApiError("The studio does not answer.", 0);
  }
  watch.answered();
  if (response.ok) return response;
  throw await failure(response.status, await response.text());
}

async function failure(status, text) {
  let message = `The studio answered with an error (${status}).`;
  try {
    message = JSON.parse(text).error ?? message;
  } catch {
    // The answer was no JSON: our own sentence is kept.
  }
  if (status === 401) watch.refused(message);
  return new ApiError(message, status);
}

async function json(method, path, body, signal) {
  const options = { method, signal };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await ask(path, options);
  return response.status === 204 ? null : response.json();
}

export const get = (path, signal) => json("GET", path, undefined, signal);
export const post = (path, body = {}) => json("POST", path, body);
export const put = (path, body) => json("PUT", path, body);
export const remove = (path) => json("DELETE", path);

export const putText = async (path, text) =>
  (await ask(path, { method: "PUT", body: text, headers: { "Content-Type": "application/json" } })).json();

/** Send a file. fetch() does not say how far it is, XMLHttpRequest does. */
export function upload(file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/videos?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => {
      watch.lost();
      reject(new ApiError("The studio does not answer, or the file cannot be read.", 0));
    };
    request.onload = async () => {
      try {
        if (request.status < 300) resolve(JSON.parse(request.responseText));
        else reject(await failure(request.status, request.responseText));
      } catch { // no JSON, as from a proxy between: the other files of a drop still have their turn
        reject(new ApiError("What answered is not the studio.", request.status));
      }
    };
    request.send(file);
  });
}

/** The camera: a session is begun, gives a hidden picture for those that are sent, and ends. */
export const camera = {
  start: (wanted) => post("/camera", wanted),
  end: (id) => remove(`/camera/${id}`),
  /** The newest picture that may be shown, and which of those sent it is; null: there is none yet. */
  async frame(id, jpeg) {
    const options = { method: "POST", body: jpeg, headers: { "Content-Type": "image/jpeg" } };
    const response = await ask(`/camera/${id}/frames`, options);
    if (response.status === 204) return null;
    return { frame: Number(response.headers.get("x-frame")), picture: await response.blob() };
  },
};

/** Fetch and decode a picture of the API. */
export async function picture(path, signal) {
  const response = await ask(path, { signal });
  const decoded = await createImageBitmap(await response.blob());
  if (signal?.aborted) throw new DOMException("a newer picture is wanted", "AbortError");
  return decoded;
}

const videoPath = (id, rest) => `/videos/${id}/${rest}`;

export const paths = {
  // What was filmed never changes, so that its address does not either.
  raw: (id, frame) => videoPath(id, `frames/${frame}.jpg?view=raw&v=0`),
  result: (id, frame, revision) => videoPath(id, `frames/${frame}.jpg?view=result&v=${revision}`),
  level: (id, level, frame, revision) => videoPath(id, `levels/${level}.jpg?frame=${frame}&v=${revision}`),
  method: (id, name, frame, revision) =>
    videoPath(id, `method.jpg?frame=${frame}&name=${encodeURIComponent(name)}&v=${revision}`),
  heat: (id, point, frame, revision) =>
    videoPath(id, `heat.jpg?frame=${frame}&template=${encodeURIComponent(point)}&v=${revision}`),
  // A result that is finished never changes either.
  job: (job, frame) => `/jobs/${job}/frames/${frame}.jpg`,
  // Thumbnails are fetched by <img>, which needs the whole address.
  track: (id, track, revision) => `/api${videoPath(id, `tracks/${track}.jpg?v=${revision}`)}`,
};

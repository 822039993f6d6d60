/** English. Each file has the texts of one subject; `../de/` has the same files. */

import { access } from './access'
import { common } from './common'
import { errors } from './errors'
import { bulk } from './bulk'
import { fleet } from './fleet'
import { login } from './login'
import { shell } from './shell'
import { table } from './table'
import { time } from './time'

export const en = { access, bulk, common, errors, fleet, login, shell, table, time }
